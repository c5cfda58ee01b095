package messaging

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// dataKeyBytes is an AES-256 key.
const dataKeyBytes = 32

// keyring seals what members and agents write.
//
// Every conversation has a data key of its own, drawn at random, that encrypts
// its texts (AES-256-GCM) and is itself encrypted ("wrapped") by the key set. The
// key set is a tink one: the primary key wraps, the others still unwrap, so it is
// rotated by adding a key. Erasing a wrapped data key erases the texts, in
// backups too, as long as the key set is not kept beside them.
//
// Each ciphertext is bound to the row it belongs to (associated data): a text
// moved to another conversation, message or author no longer opens.
type keyring struct {
	wrapper tink.AEAD
}

// openKeyring reads a key set in tink's JSON format.
func openKeyring(cleartext string) (*keyring, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewBufferString(cleartext)))
	if err != nil {
		return nil, errors.New("reading the key set: not a tink key set in JSON; make one with tinkey (AES256_GCM)")
	}
	wrapper, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	return &keyring{wrapper}, nil
}

// NewKeyset returns a new key set with one AES-256-GCM key, in the JSON that
// Config.Keyset takes. Who loses it loses every text.
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

// dataKey is the key of one conversation, opened.
type dataKey struct {
	cipher tink.AEAD
}

// newDataKey draws a key for a conversation and returns it with its wrapped form.
func (k *keyring) newDataKey(conversation string) (dataKey, []byte, error) {
	secret := make([]byte, dataKeyBytes)
	if _, err := rand.Read(secret); err != nil {
		return dataKey{}, nil, fmt.Errorf("drawing a data key: %w", err)
	}
	wrapped, err := k.wrapper.Encrypt(secret, bound("data-key", conversation))
	if err != nil {
		return dataKey{}, nil, fmt.Errorf("wrapping a data key: %w", err)
	}
	key, err := dataKeyOf(secret)
	return key, wrapped, err
}

// unwrap opens the key of a conversation.
func (k *keyring) unwrap(conversation string, wrapped []byte) (dataKey, error) {
	secret, err := k.wrapper.Decrypt(wrapped, bound("data-key", conversation))
	if err != nil {
		return dataKey{}, fmt.Errorf("unwrapping the data key of conversation %s: %w", conversation, err)
	}
	return dataKeyOf(secret)
}

func dataKeyOf(secret []byte) (dataKey, error) {
	cipher, err := subtle.NewAESGCM(secret)
	if err != nil {
		return dataKey{}, fmt.Errorf("using a data key: %w", err)
	}
	return dataKey{cipher}, nil
}

// sealText encrypts a message's text.
func (key dataKey) sealText(conversation, message string, author int16, body string) ([]byte, error) {
	sealed, err := key.cipher.Encrypt([]byte(body), messageBound(conversation, message, author))
	if err != nil {
		return nil, fmt.Errorf("encrypting message %s: %w", message, err)
	}
	return sealed, nil
}

// openText decrypts a message's text.
func (key dataKey) openText(conversation, message string, author int16, sealed []byte) (string, error) {
	body, err := key.cipher.Decrypt(sealed, messageBound(conversation, message, author))
	if err != nil {
		return "", fmt.Errorf("decrypting message %s: %w", message, err)
	}
	return string(body), nil
}

// sealContact encrypts a member's contact points: of the kind "contact", as their
// account has them, or "chosen", as they wish.
func (k *keyring) sealContact(kind, member string, contact []byte) ([]byte, error) {
	sealed, err := k.wrapper.Encrypt(contact, bound(kind, member))
	if err != nil {
		return nil, fmt.Errorf("encrypting contact points: %w", err)
	}
	return sealed, nil
}

// openContact decrypts a member's contact points.
func (k *keyring) openContact(kind, member string, sealed []byte) ([]byte, error) {
	contact, err := k.wrapper.Decrypt(sealed, bound(kind, member))
	if err != nil {
		return nil, fmt.Errorf("decrypting contact points: %w", err)
	}
	return contact, nil
}

// sealDraft encrypts a draft. It has no data key of its own: a draft lives days, and
// what erases it is its deletion.
func (k *keyring) sealDraft(member, draft, body string) ([]byte, error) {
	sealed, err := k.wrapper.Encrypt([]byte(body), bound("draft", member, draft))
	if err != nil {
		return nil, fmt.Errorf("encrypting a draft: %w", err)
	}
	return sealed, nil
}

// openDraft decrypts a draft.
func (k *keyring) openDraft(member, draft string, sealed []byte) (string, error) {
	body, err := k.wrapper.Decrypt(sealed, bound("draft", member, draft))
	if err != nil {
		return "", fmt.Errorf("decrypting a draft: %w", err)
	}
	return string(body), nil
}

func messageBound(conversation, message string, author int16) []byte {
	return bound("message", conversation, message, string(rune('0'+author)))
}

// bound is associated data: the parts, unambiguously.
func bound(parts ...string) []byte {
	data := []byte("messagerie/1")
	for _, part := range parts {
		data = append(append(data, 0), part...)
	}
	return data
}
