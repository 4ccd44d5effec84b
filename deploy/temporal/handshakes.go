package main

import (
	"fmt"
	"strings"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"google.golang.org/grpc/grpclog"
)

// logRefusedHandshakes has the log say who was turned away before any request: a certificate of another CA, an expired or
// revoked one, or none. gRPC tells nobody but its own log, which is off otherwise.
func logRefusedHandshakes(logger log.Logger) { grpclog.SetLoggerV2(handshakes{logger: logger}) }

type handshakes struct{ logger log.Logger }

func (h handshakes) line(text string) {
	if strings.Contains(text, "ServerHandshake(") {
		h.logger.Warn("A connection was refused", tag.NewStringTag("reason", strings.TrimSpace(text)))
	}
}

// The methods of grpclog.LoggerV2 and DepthLoggerV2. gRPC's word about a client is information or a warning to it.
func (h handshakes) Info(args ...any)                { h.line(fmt.Sprint(args...)) }
func (h handshakes) Infoln(args ...any)              { h.line(fmt.Sprint(args...)) }
func (h handshakes) Infof(f string, args ...any)     { h.line(fmt.Sprintf(f, args...)) }
func (h handshakes) InfoDepth(_ int, args ...any)    { h.line(fmt.Sprint(args...)) }
func (h handshakes) Warning(args ...any)             { h.line(fmt.Sprint(args...)) }
func (h handshakes) Warningln(args ...any)           { h.line(fmt.Sprint(args...)) }
func (h handshakes) Warningf(f string, args ...any)  { h.line(fmt.Sprintf(f, args...)) }
func (h handshakes) WarningDepth(_ int, args ...any) { h.line(fmt.Sprint(args...)) }
func (h handshakes) Error(args ...any)               { h.line(fmt.Sprint(args...)) }
func (h handshakes) Errorln(args ...any)             { h.line(fmt.Sprint(args...)) }
func (h handshakes) Errorf(f string, args ...any)    { h.line(fmt.Sprintf(f, args...)) }
func (h handshakes) ErrorDepth(_ int, args ...any)   { h.line(fmt.Sprint(args...)) }
func (h handshakes) Fatal(args ...any)               { h.logger.Fatal(fmt.Sprint(args...)) }
func (h handshakes) Fatalln(args ...any)             { h.logger.Fatal(fmt.Sprint(args...)) }
func (h handshakes) Fatalf(f string, args ...any)    { h.logger.Fatal(fmt.Sprintf(f, args...)) }
func (h handshakes) FatalDepth(_ int, args ...any)   { h.logger.Fatal(fmt.Sprint(args...)) }
func (h handshakes) V(level int) bool                { return level <= 2 }
