package servers

import (
	"crypto/rand"
	"math/big"
	"strings"
)

const passwordLength = 12

// The characters of generated passwords: none that are easily mistaken for another (nova/utils.py).
var passwordSymbols = []string{"23456789", "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz"}

// newPassword has at least one character of each group, in a random order.
func newPassword() string {
	word := make([]byte, passwordLength)
	for i := range word {
		group := strings.Join(passwordSymbols, "")
		if i < len(passwordSymbols) {
			group = passwordSymbols[i]
		}
		word[i] = group[random(len(group))]
	}
	for i := len(word) - 1; i > 0; i-- {
		j := random(i + 1)
		word[i], word[j] = word[j], word[i]
	}
	return string(word)
}

// newSeed is what a guest's random_seed is derived from.
func newSeed() []byte {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // which does not fail
	return seed
}

func random(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}
