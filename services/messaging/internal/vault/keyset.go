package vault

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset wraps the keys of members: its primary key wraps, every key unwraps.
type Keyset struct {
	wrapper tink.AEAD
}

// OpenKeyset reads a key set in tink's JSON format. Its error quotes nothing of it.
func OpenKeyset(cleartext string) (*Keyset, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewBufferString(cleartext)))
	if err != nil {
		return nil, errors.New("reading the key set: not a tink key set in JSON; make one with tinkey (AES256_GCM)")
	}
	wrapper, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	return &Keyset{wrapper}, nil
}

// NewKeyset returns a new key set with one AES-256-GCM key, in the JSON that OpenKeyset takes.
func NewKeyset() (string, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return "", fmt.Errorf("making a key set: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return "", fmt.Errorf("writing a key set: %w", err)
	}
	return out.String(), nil
}

// wrap encrypts the secret of a member's key, bound to the key's id and its member.
func (k *Keyset) wrap(id uuid.UUID, member string, secret []byte) ([]byte, error) {
	wrapped, err := k.wrapper.Encrypt(secret, bound("member-key", id.String(), member))
	if err != nil {
		return nil, fmt.Errorf("wrapping key %s: %w", id, err)
	}
	return wrapped, nil
}

func (k *Keyset) unwrap(id uuid.UUID, member string, wrapped []byte) ([]byte, error) {
	secret, err := k.wrapper.Decrypt(wrapped, bound("member-key", id.String(), member))
	if err != nil {
		return nil, fmt.Errorf("unwrapping key %s: %w", id, err)
	}
	return secret, nil
}
