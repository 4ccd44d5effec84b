package cli

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

//nolint:gosec // Glance's "checksum" is an MD5; the hash beside it is what is trusted where there is one

// checksums are sums over the bytes of an image, by Glance's names of the algorithms.
type checksums struct{ hashes map[string]hash.Hash }

// sumMakers are the algorithms that Glance may be set to (hashing_algorithm), and that of "checksum".
var sumMakers = map[string]func() hash.Hash{"sha512": sha512.New, "sha384": sha512.New384, "sha256": sha256.New, "md5": md5.New}

func newChecksums(algorithms ...string) *checksums {
	s := &checksums{hashes: map[string]hash.Hash{}}
	for _, a := range algorithms {
		s.hashes[a] = sumMakers[a]()
	}
	return s
}

func (s *checksums) write(p []byte) {
	for _, h := range s.hashes {
		h.Write(p)
	}
}

func (s *checksums) reset() {
	for _, h := range s.hashes {
		h.Reset()
	}
}

// vouchingSum is the sum that vouches for an image's bytes: os_hash_value where there is one that can be computed here, else
// the MD5 in checksum; "" for none.
func vouchingSum(image show.Object) (algorithm, want string) {
	if algorithm, want = show.Text(image, "os_hash_algo"), show.Text(image, "os_hash_value"); want != "" && sumMakers[algorithm] != nil {
		return algorithm, want
	}
	if want = show.Text(image, "checksum"); want != "" {
		return "md5", want
	}
	return "", ""
}

var errNoChecksum = errors.New("the API keeps no checksum of this image, so nothing vouches for its bytes")

// compare holds the bytes that went through against what the API says of the image.
func (s *checksums) compare(image show.Object, n int64) error {
	if size, ok := show.Number(image, "size"); ok && size != n {
		return fmt.Errorf("it has %d bytes, the API says %d", n, size)
	}
	algorithm, want := vouchingSum(image)
	if algorithm == "" {
		return errNoChecksum
	}
	h := s.hashes[algorithm]
	if h == nil {
		return fmt.Errorf("its %s was not computed", strings.ToUpper(algorithm))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("its %s is %s, the API says %s", strings.ToUpper(algorithm), got, want)
	}
	return nil
}
