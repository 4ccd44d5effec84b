package imds

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
	"time"
)

// The tokens of EC2's second version of the service (IMDSv2). Who reads without one is answered too, as EC2 does where http-tokens is
// optional; one that is shown has to be good.
const (
	tokenPath   = "/latest/api/token"
	headerToken = "X-Aws-Ec2-Metadata-Token"
	headerTTL   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	longestTTL  = 21600
)

// tokens are when one ends and a seal of that with its server: nothing of them is kept. They end with the process, after which their
// holder is refused and gets another.
type tokens struct{ key [sha256.Size]byte }

func (t *tokens) seal(end []byte, serverID string) []byte {
	h := hmac.New(sha256.New, t.key[:])
	h.Write(end)
	_, _ = io.WriteString(h, serverID)
	return h.Sum(end)
}

func (t *tokens) give(serverID string, end time.Time) string {
	return base64.URLEncoding.EncodeToString(t.seal(binary.BigEndian.AppendUint64(nil, uint64(end.Unix())), serverID))
}

func (t *tokens) valid(token, serverID string, at time.Time) bool {
	text, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(text) != 8+sha256.Size || !hmac.Equal(text, t.seal(text[:8:8], serverID)) {
		return false
	}
	return at.Unix() < int64(binary.BigEndian.Uint64(text))
}

func (s *Service) giveToken(w http.ResponseWriter, r *http.Request, serverID string) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", "PUT")
		refuse(w, http.StatusMethodNotAllowed, "Tokens are made by PUT.")
		return
	}
	seconds, err := strconv.Atoi(r.Header.Get(headerTTL))
	if err != nil || seconds < 1 || seconds > longestTTL {
		refuse(w, http.StatusBadRequest, headerTTL+" says for how many seconds the token is good: 1 to "+strconv.Itoa(longestTTL)+".")
		return
	}
	w.Header().Set(headerTTL, strconv.Itoa(seconds))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, s.tokens.give(serverID, s.now().Add(time.Duration(seconds)*time.Second)))
}
