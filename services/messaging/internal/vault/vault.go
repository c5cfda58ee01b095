// Package vault seals what members and agents write, and how members are reached, before it
// comes to the database, and opens it again.
//
// # What is promised
//
// Whoever has the database alone reads none of it. Each ciphertext is bound to the row it
// belongs to (associated data): a text that was moved to another conversation, message,
// author, note, draft or member does not open.
//
// # How
//
// Every conversation has a data key of its own, drawn at random, that encrypts its messages
// and notes (AES-256-GCM) and is itself encrypted ("wrapped") by the key set. Drafts and
// contact points are encrypted by the key set: they live for days, or for as long as their
// member, and deleting their rows erases them. The key set is tink's: its primary key wraps,
// the others still unwrap, so that a key is rotated by adding another. Erasing a wrapped
// data key erases the texts, in backups too, as long as the key set is not kept beside them.
//
// # When it breaks
//
// Whoever loses the key set loses every text.
package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// dataKeyBytes is an AES-256 key.
const dataKeyBytes = 32

// Vault is an opened key set.
type Vault struct {
	wrapper tink.AEAD
}

// Open reads a key set in tink's JSON format. Its error quotes nothing of it.
func Open(cleartext string) (*Vault, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewBufferString(cleartext)))
	if err != nil {
		return nil, errors.New("reading the key set: not a tink key set in JSON; make one with tinkey (AES256_GCM)")
	}
	wrapper, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	return &Vault{wrapper}, nil
}

// NewKeyset returns a new key set with one AES-256-GCM key, in the JSON that Open takes.
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

// Key is the data key of one conversation.
type Key struct {
	conversation string
	cipher       tink.AEAD
}

// NewKey draws a key for a conversation and returns it with its wrapped form.
func (v *Vault) NewKey(conversation uuid.UUID) (Key, []byte, error) {
	secret := make([]byte, dataKeyBytes)
	if _, err := rand.Read(secret); err != nil {
		return Key{}, nil, fmt.Errorf("drawing a data key: %w", err)
	}
	id := conversation.String()
	wrapped, err := v.wrapper.Encrypt(secret, bound("data-key", id))
	if err != nil {
		return Key{}, nil, fmt.Errorf("wrapping a data key: %w", err)
	}
	key, err := keyOf(id, secret)
	return key, wrapped, err
}

// Key opens the wrapped key of a conversation.
func (v *Vault) Key(conversation uuid.UUID, wrapped []byte) (Key, error) {
	id := conversation.String()
	secret, err := v.wrapper.Decrypt(wrapped, bound("data-key", id))
	if err != nil {
		return Key{}, fmt.Errorf("unwrapping the data key of conversation %s: %w", id, err)
	}
	return keyOf(id, secret)
}

func keyOf(conversation string, secret []byte) (Key, error) {
	cipher, err := subtle.NewAESGCM(secret)
	if err != nil {
		return Key{}, fmt.Errorf("using a data key: %w", err)
	}
	return Key{conversation, cipher}, nil
}

// SealMessage encrypts the text of a message; the author is a number of messaging.v1.Author.
func (k Key) SealMessage(message uuid.UUID, author int16, text string) ([]byte, error) {
	return sealed(k.cipher, text, k.message(message, author))
}

// OpenMessage decrypts the text of a message.
func (k Key) OpenMessage(message uuid.UUID, author int16, ciphertext []byte) (string, error) {
	return opened(k.cipher, ciphertext, k.message(message, author))
}

// SealNote encrypts the text of a note.
func (k Key) SealNote(note uuid.UUID, text string) ([]byte, error) {
	return sealed(k.cipher, text, k.note(note))
}

// OpenNote decrypts the text of a note.
func (k Key) OpenNote(note uuid.UUID, ciphertext []byte) (string, error) {
	return opened(k.cipher, ciphertext, k.note(note))
}

// SealDraft encrypts the text of a member's draft.
func (v *Vault) SealDraft(member string, draft uuid.UUID, text string) ([]byte, error) {
	return sealed(v.wrapper, text, draftOf(member, draft))
}

// OpenDraft decrypts the text of a member's draft.
func (v *Vault) OpenDraft(member string, draft uuid.UUID, ciphertext []byte) (string, error) {
	return opened(v.wrapper, ciphertext, draftOf(member, draft))
}

// Contact is what a member can be reached by. An empty field is none.
type Contact struct {
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// Or fills in from another contact what this one leaves open.
func (c Contact) Or(other Contact) Contact {
	if c.Email == "" {
		c.Email = other.Email
	}
	if c.Phone == "" {
		c.Phone = other.Phone
	}
	return c
}

// Source is whose word a member's contact points are.
type Source string

// A member's contact points are stored as their account has them, and as they wish.
const (
	FromAccount Source = "contact"
	FromMember  Source = "chosen"
)

// SealContact encrypts contact points of a member.
func (v *Vault) SealContact(source Source, member string, contact Contact) ([]byte, error) {
	plain, err := json.Marshal(contact)
	if err != nil {
		return nil, fmt.Errorf("encoding contact points: %w", err)
	}
	return sealed(v.wrapper, string(plain), contactOf(source, member))
}

// OpenContact decrypts contact points of a member; where nothing is stored, there are none.
func (v *Vault) OpenContact(source Source, member string, ciphertext []byte) (contact Contact, err error) {
	if ciphertext == nil {
		return contact, nil
	}
	plain, err := opened(v.wrapper, ciphertext, contactOf(source, member))
	if err != nil {
		return contact, err
	}
	if err := json.Unmarshal([]byte(plain), &contact); err != nil {
		// The decoder's error could quote what it read.
		return contact, errors.New("decoding contact points: not the form they were written in")
	}
	return contact, nil
}

// row is what a ciphertext is bound to.
type row struct {
	// name is for errors: it names no member.
	name string
	// bound is the associated data.
	bound []byte
}

func (k Key) message(id uuid.UUID, author int16) row {
	return row{"message " + id.String(), bound("message", k.conversation, id.String(), string(rune('0'+author)))}
}

func (k Key) note(id uuid.UUID) row {
	return row{"note " + id.String(), bound("note", k.conversation, id.String())}
}

func draftOf(member string, id uuid.UUID) row {
	return row{"a draft", bound("draft", member, id.String())}
}

func contactOf(source Source, member string) row {
	return row{"contact points", bound(string(source), member)}
}

func sealed(cipher tink.AEAD, plain string, to row) ([]byte, error) {
	ciphertext, err := cipher.Encrypt([]byte(plain), to.bound)
	if err != nil {
		return nil, fmt.Errorf("encrypting %s: %w", to.name, err)
	}
	return ciphertext, nil
}

func opened(cipher tink.AEAD, ciphertext []byte, from row) (string, error) {
	plain, err := cipher.Decrypt(ciphertext, from.bound)
	if err != nil {
		return "", fmt.Errorf("decrypting %s: %w", from.name, err)
	}
	return string(plain), nil
}

// bound is associated data: the kind and the parts of a key, unambiguously.
func bound(kind string, key ...string) []byte {
	data := append([]byte("messagerie/1\x00"), kind...)
	for _, part := range key {
		data = append(append(data, 0), part...)
	}
	return data
}
