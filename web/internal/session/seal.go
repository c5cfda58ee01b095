package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// keyBytes is the length of a key of AES-256.
const keyBytes = 32

// NewKey returns a new key for NewSealer.
func NewKey() string { return base64.StdEncoding.EncodeToString(randomBytes(keyBytes)) }

// Sealer encrypts what a browser keeps for this site.
type Sealer struct{ ciphers []cipher.AEAD }

// NewSealer reads keys of 32 bytes in base64, separated by commas. The first seals,
// all open.
func NewSealer(keys string) (*Sealer, error) {
	s := &Sealer{}
	for key := range strings.SplitSeq(keys, ",") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
		if err != nil || len(raw) != keyBytes {
			return nil, errors.New("SESSION_KEY is not 32 bytes in base64: make one with `openssl rand -base64 32`")
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("using SESSION_KEY: %w", err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("using SESSION_KEY: %w", err)
		}
		s.ciphers = append(s.ciphers, gcm)
	}
	return s, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// Seal encrypts a value for one purpose.
func (s *Sealer) Seal(purpose string, value any) (string, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", purpose, err)
	}
	gcm := s.ciphers[0]
	nonce := randomBytes(gcm.NonceSize())
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, []byte(purpose))), nil
}

// Open decrypts what Seal has made for the purpose; anything else is false.
func (s *Sealer) Open(purpose, sealed string, value any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return false
	}
	for _, gcm := range s.ciphers {
		if len(raw) < gcm.NonceSize() {
			return false
		}
		plain, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], []byte(purpose))
		if err == nil {
			return json.Unmarshal(plain, value) == nil
		}
	}
	return false
}
