// Package listener opens the listeners of Slipway's processes. An error tells which setting it is about and, where the port
// is in use, by whom.
package listener

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Open listens on a TCP address that a setting or a flag names.
func Open(ctx context.Context, setting, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use%s: stop that, or choose another address", setting, address, listeningProcess(address))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: this machine has no address %s", setting, address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: this user may not listen on %s; ports from 1024 are free to all", setting, address)
	}
	return nil, fmt.Errorf("%s: cannot listen on %q: %w", setting, address, err)
}

// listeningProcess names the process that listens on the port, as far as this user may know: Linux tells a socket's inode,
// and each process's files.
func listeningProcess(address string) string {
	_, word, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.Atoi(word)
	if err != nil {
		return ""
	}
	sockets := listening(port)
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && slices.Contains(sockets, target) {
			process := filepath.Dir(filepath.Dir(f))
			name, err := os.ReadFile(filepath.Join(process, "comm"))
			if err != nil {
				continue
			}
			return fmt.Sprintf(" by %s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(process))
		}
	}
	return ""
}

// listening are the sockets that listen on a port, as the links of a process's files name them: proc(5), /proc/net/tcp.
func listening(port int) (sockets []string) {
	const stateListen = "0A"
	suffix := ":" + strings.ToUpper(hex.EncodeToString([]byte{byte(port >> 8), byte(port)}))
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == stateListen && strings.HasSuffix(fields[1], suffix) {
				sockets = append(sockets, "socket:["+fields[9]+"]")
			}
		}
	}
	return sockets
}
