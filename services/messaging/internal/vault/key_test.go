package vault

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

func newKeyset(t *testing.T) *Keyset {
	t.Helper()
	cleartext, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeyset(cleartext)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

var (
	conversation = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	message      = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8058")
	draft        = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8059")

	jeanne = Key{uuid.MustParse("7a4a3e52-6b63-4f0f-9f38-0d0a3d3f1b55"), "jeanne", bytes.Repeat([]byte{1}, secretBytes)}
)

// Whatever was moved in the database to another row no longer opens.
func TestKey_BindsToTheRow(t *testing.T) {
	t.Parallel()
	must := func(sealed []byte, err error) []byte {
		t.Helper()
		if err != nil || bytes.Contains(sealed, []byte("Bonjour")) || bytes.Contains(sealed, []byte("example.org")) {
			t.Fatalf("%q, %v", sealed, err)
		}
		return sealed
	}
	textsOf := func(key Key, id uuid.UUID) Texts {
		t.Helper()
		texts, err := key.Texts(id)
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}
	paul := Key{jeanne.ID, "paul", jeanne.secret}
	other := Key{jeanne.ID, "jeanne", bytes.Repeat([]byte{2}, secretBytes)}
	contact := Contact{Email: "jeanne@example.org"}
	key, elsewhere := textsOf(jeanne, conversation), textsOf(jeanne, draft)
	text, note := must(key.SealMessage(message, 1, "Bonjour")), must(key.SealNote(message, "Bonjour"))
	hold := must(key.SealHold("Bonjour"))
	begun, aside := must(key.SealBegun(BegunReply, "agent:claire", "Bonjour")), must(key.SealBegun(BegunNote, "agent:claire", "Bonjour"))
	kept, account := must(jeanne.SealDraft(draft, "Bonjour")), must(jeanne.SealContact(FromAccount, contact))
	for name, open := range map[string]func() (string, error){
		"message": func() (string, error) { return textsOf(jeanne, conversation).OpenMessage(message, 1, text) },
		"note":    func() (string, error) { return key.OpenNote(message, note) },
		"hold":    func() (string, error) { return textsOf(jeanne, conversation).OpenHold(hold) },
		"draft":   func() (string, error) { return jeanne.OpenDraft(draft, kept) },
		"a begun reply": func() (string, error) {
			return textsOf(jeanne, conversation).OpenBegun(BegunReply, "agent:claire", begun)
		},
		"a begun note": func() (string, error) { return key.OpenBegun(BegunNote, "agent:claire", aside) },
	} {
		if got, err := open(); got != "Bonjour" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := jeanne.OpenContact(FromAccount, account); got != contact || err != nil {
		t.Errorf("contact: %v, %v", got, err)
	}
	// An account is sealed as contact points, with what an earlier version does not know.
	whole := Account{Contact: contact, Name: "Jeanne Martin", Number: "A1-204-517"}
	sealed := must(jeanne.SealAccount(whole))
	if got, err := jeanne.OpenAccount(sealed); got != whole || err != nil {
		t.Errorf("account: %v, %v", got, err)
	}
	if got, err := jeanne.OpenContact(FromAccount, sealed); got != contact || err != nil {
		t.Errorf("contact of an account: %v, %v", got, err)
	}
	if got, err := jeanne.OpenAccount(account); got != (Account{Contact: contact}) || err != nil {
		t.Errorf("account of an earlier version: %v, %v", got, err)
	}
	if got, err := jeanne.OpenContact(FromMember, nil); got != (Contact{}) || err != nil {
		t.Errorf("nothing stored: %v, %v", got, err)
	}
	second := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"a message elsewhere":            second(elsewhere.OpenMessage(message, 1, text)),
		"a message under its name":       second(Texts{key.conversation, elsewhere.cipher}.OpenMessage(message, 1, text)),
		"a message by another key":       second(textsOf(other, conversation).OpenMessage(message, 1, text)),
		"another message":                second(key.OpenMessage(draft, 1, text)),
		"another author":                 second(key.OpenMessage(message, 2, text)),
		"a message as a note":            second(key.OpenNote(message, text)),
		"a note as a message":            second(key.OpenMessage(message, 2, note)),
		"a note elsewhere":               second(elsewhere.OpenNote(message, note)),
		"another note":                   second(key.OpenNote(draft, note)),
		"a hold elsewhere":               second(elsewhere.OpenHold(hold)),
		"a hold under its name":          second(Texts{key.conversation, elsewhere.cipher}.OpenHold(hold)),
		"a note as a hold":               second(key.OpenHold(note)),
		"a hold as a note":               second(key.OpenNote(conversation, hold)),
		"a begun reply elsewhere":        second(elsewhere.OpenBegun(BegunReply, "agent:claire", begun)),
		"a begun reply under its name":   second(Texts{key.conversation, elsewhere.cipher}.OpenBegun(BegunReply, "agent:claire", begun)),
		"a begun reply of a colleague":   second(key.OpenBegun(BegunReply, "agent:omar", begun)),
		"a begun reply as a note":        second(key.OpenBegun(BegunNote, "agent:claire", begun)),
		"a begun note as a reply":        second(key.OpenBegun(BegunReply, "agent:claire", aside)),
		"a begun note as a hold":         second(key.OpenHold(aside)),
		"another member's draft":         second(paul.OpenDraft(draft, kept)),
		"another draft":                  second(jeanne.OpenDraft(message, kept)),
		"a draft as a message":           second(textsOf(jeanne, draft).OpenMessage(draft, 1, kept)),
		"another member's contact":       second(paul.OpenContact(FromAccount, account)),
		"another member's account":       second(paul.OpenAccount(sealed)),
		"chosen contact as an account's": second(jeanne.OpenAccount(must(jeanne.SealContact(FromMember, contact)))),
		"an account's contact as chosen": second(jeanne.OpenContact(FromMember, account)),
		"no key":                         second(Key{}.OpenDraft(draft, kept)),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// A wrapped key opens as that of its member, under its id, by its key set alone.
func TestKeyset_BindsToTheMember(t *testing.T) {
	t.Parallel()
	keys := newKeyset(t)
	wrapped, err := keys.wrap(jeanne.ID, "jeanne", jeanne.secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.unwrap(jeanne.ID, "jeanne", wrapped); !bytes.Equal(got, jeanne.secret) || err != nil {
		t.Errorf("%x, %v", got, err)
	}
	second := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"another member":  second(keys.unwrap(jeanne.ID, "paul", wrapped)),
		"another id":      second(keys.unwrap(draft, "jeanne", wrapped)),
		"another key set": second(newKeyset(t).unwrap(jeanne.ID, "jeanne", wrapped)),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestKeyset_Rotation(t *testing.T) {
	t.Parallel()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	open := func(h *keyset.Handle) *Keyset {
		var out bytes.Buffer
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&out)); err != nil {
			t.Fatal(err)
		}
		keys, err := OpenKeyset(out.String())
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	wrapped, err := open(handle).wrap(jeanne.ID, "jeanne", jeanne.secret)
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(id); err != nil {
		t.Fatal(err)
	}
	rotated, err := manager.Handle()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(rotated).unwrap(jeanne.ID, "jeanne", wrapped); err != nil {
		t.Errorf("a key added took away what was there: %v", err)
	}
}

func TestOpenKeyset_SaysNothingOfASecret(t *testing.T) {
	t.Parallel()
	_, err := OpenKeyset(`{"secret-of-mine":`)
	if err == nil || strings.Contains(err.Error(), "secret-of-mine") {
		t.Errorf("got %v", err)
	}
}
