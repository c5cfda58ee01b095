package vault

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// secretBytes is the length of a member's secret, and of the AES-256 keys derived from it.
const secretBytes = 32

// Key is the key of one member. What it seals is encrypted by keys derived from its secret
// (HKDF with SHA-256, RFC 5869), one for each conversation, draft and contact. As the secret is
// random throughout, it is the pseudorandom key of HKDF's second step (section 3.3).
type Key struct {
	// ID is stored beside what the key has sealed. It is random, and says nothing about the
	// member.
	ID     uuid.UUID
	member string
	secret []byte
}

// derive is the secret for one purpose and row.
func (k Key) derive(kind string, of ...string) ([]byte, error) {
	if len(k.secret) != secretBytes {
		return nil, errors.New("deriving a key: there is no secret")
	}
	secret, err := hkdf.Expand(sha256.New, k.secret, string(bound(kind, of...)), secretBytes)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a %s: %w", kind, err)
	}
	return secret, nil
}

// derived is the cipher for one purpose and row.
func (k Key) derived(kind string, of ...string) (tink.AEAD, error) {
	secret, err := k.derive(kind, of...)
	if err != nil {
		return nil, err
	}
	cipher, err := subtle.NewAESGCM(secret)
	if err != nil {
		return nil, fmt.Errorf("using the key of a %s: %w", kind, err)
	}
	return cipher, nil
}

// Texts seals and opens what is written in one conversation.
type Texts struct {
	conversation string
	cipher       tink.AEAD
}

// Texts returns the key of a conversation of the member's.
func (k Key) Texts(conversation uuid.UUID) (Texts, error) {
	id := conversation.String()
	cipher, err := k.derived("conversation", id)
	return Texts{id, cipher}, err
}

// SealMessage encrypts the text of a message; the author is a number of messaging.v1.Author.
func (t Texts) SealMessage(message uuid.UUID, author int16, text string) ([]byte, error) {
	return sealed(t.cipher, text, t.message(message, author))
}

// OpenMessage decrypts the text of a message.
func (t Texts) OpenMessage(message uuid.UUID, author int16, ciphertext []byte) (string, error) {
	return opened(t.cipher, ciphertext, t.message(message, author))
}

// SealNote encrypts the text of a note.
func (t Texts) SealNote(note uuid.UUID, text string) ([]byte, error) {
	return sealed(t.cipher, text, t.note(note))
}

// OpenNote decrypts the text of a note.
func (t Texts) OpenNote(note uuid.UUID, ciphertext []byte) (string, error) {
	return opened(t.cipher, ciphertext, t.note(note))
}

// SealHold encrypts the note of the conversation's hold.
func (t Texts) SealHold(text string) ([]byte, error) {
	return sealed(t.cipher, text, t.hold())
}

// OpenHold decrypts the note of the conversation's hold.
func (t Texts) OpenHold(ciphertext []byte) (string, error) {
	return opened(t.cipher, ciphertext, t.hold())
}

// Begun is what an agent has begun to write in a conversation.
type Begun string

// What agents begin.
const (
	BegunReply Begun = "begun reply"
	BegunNote  Begun = "begun note"
)

// SealBegun encrypts what an agent has begun to write.
func (t Texts) SealBegun(what Begun, agent, text string) ([]byte, error) {
	return sealed(t.cipher, text, t.begun(what, agent))
}

// OpenBegun decrypts what an agent has begun to write.
func (t Texts) OpenBegun(what Begun, agent string, ciphertext []byte) (string, error) {
	return opened(t.cipher, ciphertext, t.begun(what, agent))
}

// SealDraft encrypts the text of a draft of the member's.
func (k Key) SealDraft(draft uuid.UUID, text string) ([]byte, error) {
	cipher, err := k.derived("draft", draft.String())
	if err != nil {
		return nil, err
	}
	return sealed(cipher, text, k.draft(draft))
}

// OpenDraft decrypts the text of a draft of the member's.
func (k Key) OpenDraft(draft uuid.UUID, ciphertext []byte) (string, error) {
	cipher, err := k.derived("draft", draft.String())
	if err != nil {
		return "", err
	}
	return opened(cipher, ciphertext, k.draft(draft))
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

// Account is what a member's account says of them. An empty field is none.
type Account struct {
	Contact
	Name   string `json:"name,omitempty"`
	Number string `json:"number,omitempty"`
}

// Source is whose word a member's contact points are.
type Source string

// A member's contact points are stored as their account has them, and as they wish.
const (
	FromAccount Source = "contact"
	FromMember  Source = "chosen"
)

// SealContact encrypts contact points of the member.
func (k Key) SealContact(source Source, contact Contact) ([]byte, error) {
	return k.sealContact(source, contact)
}

// SealAccount encrypts what the member's account says: as contact points, which is what an
// earlier version, or [Key.OpenContact], opens of it.
func (k Key) SealAccount(account Account) ([]byte, error) { return k.sealContact(FromAccount, account) }

func (k Key) sealContact(source Source, contact any) ([]byte, error) {
	plain, err := json.Marshal(contact)
	if err != nil {
		return nil, fmt.Errorf("encoding contact points: %w", err)
	}
	cipher, err := k.derived(string(source))
	if err != nil {
		return nil, err
	}
	return sealed(cipher, string(plain), k.contact(source))
}

// OpenContact decrypts contact points of the member; where nothing is stored, there are none.
func (k Key) OpenContact(source Source, ciphertext []byte) (contact Contact, err error) {
	err = k.openContact(source, ciphertext, &contact)
	return contact, err
}

// OpenAccount decrypts what the member's account says; what an earlier version has sealed has
// neither name nor number.
func (k Key) OpenAccount(ciphertext []byte) (account Account, err error) {
	err = k.openContact(FromAccount, ciphertext, &account)
	return account, err
}

func (k Key) openContact(source Source, ciphertext []byte, into any) error {
	if ciphertext == nil {
		return nil
	}
	cipher, err := k.derived(string(source))
	if err != nil {
		return err
	}
	plain, err := opened(cipher, ciphertext, k.contact(source))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(plain), into); err != nil {
		// The decoder's error could quote what it read.
		return errors.New("decoding contact points: not the form they were written in")
	}
	return nil
}

// row is what a ciphertext is bound to.
type row struct {
	// name is for errors: it names no member.
	name string
	// bound is the associated data.
	bound []byte
}

func (t Texts) message(id uuid.UUID, author int16) row {
	return row{"message " + id.String(), bound("message", t.conversation, id.String(), string(rune('0'+author)))}
}

func (t Texts) note(id uuid.UUID) row {
	return row{"note " + id.String(), bound("note", t.conversation, id.String())}
}

func (t Texts) hold() row {
	return row{"the note of a hold on " + t.conversation, bound("hold", t.conversation)}
}

func (t Texts) begun(what Begun, agent string) row {
	return row{"a " + string(what) + " in " + t.conversation, bound(string(what), t.conversation, agent)}
}

func (k Key) draft(id uuid.UUID) row {
	return row{"a draft", bound("draft", k.member, id.String())}
}

func (k Key) contact(source Source) row {
	return row{"contact points", bound(string(source), k.member)}
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

// bound is associated data, or what a key is derived for: the kind and the parts of a key,
// unambiguously.
func bound(kind string, key ...string) []byte {
	data := append([]byte("messagerie/2\x00"), kind...)
	for _, part := range key {
		data = append(append(data, 0), part...)
	}
	return data
}
