package vault

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

func newVault(t *testing.T) *Vault {
	t.Helper()
	cleartext, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := Open(cleartext)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

var (
	conversation = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	message      = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8058")
	draft        = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8059")
)

// Whatever was moved in the database to another row no longer opens.
func TestVault_BindsToTheRow(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	key, wrapped, err := v.NewKey(conversation)
	if err != nil {
		t.Fatal(err)
	}
	must := func(sealed []byte, err error) []byte {
		t.Helper()
		if err != nil || bytes.Contains(sealed, []byte("Bonjour")) || bytes.Contains(sealed, []byte("example.org")) {
			t.Fatalf("%q, %v", sealed, err)
		}
		return sealed
	}
	contact := Contact{Email: "jeanne@example.org"}
	text, note := must(key.SealMessage(message, 1, "Bonjour")), must(key.SealNote(message, "Bonjour"))
	kept, account := must(v.SealDraft("jeanne", draft, "Bonjour")), must(v.SealContact(FromAccount, "jeanne", contact))
	if key, err = v.Key(conversation, wrapped); err != nil {
		t.Fatal(err)
	}
	elsewhere, _, err := v.NewKey(draft)
	if err != nil {
		t.Fatal(err)
	}
	samekey := Key{draft.String(), key.cipher}
	for name, open := range map[string]func() (string, error){
		"message": func() (string, error) { return key.OpenMessage(message, 1, text) },
		"note":    func() (string, error) { return key.OpenNote(message, note) },
		"draft":   func() (string, error) { return v.OpenDraft("jeanne", draft, kept) },
	} {
		if got, err := open(); got != "Bonjour" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := v.OpenContact(FromAccount, "jeanne", account); got != contact || err != nil {
		t.Errorf("contact: %v, %v", got, err)
	}
	if got, err := v.OpenContact(FromMember, "jeanne", nil); got != (Contact{}) || err != nil {
		t.Errorf("nothing stored: %v, %v", got, err)
	}
	second := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"a message elsewhere":            second(samekey.OpenMessage(message, 1, text)),
		"a message by another key":       second(elsewhere.OpenMessage(message, 1, text)),
		"another message":                second(key.OpenMessage(draft, 1, text)),
		"another author":                 second(key.OpenMessage(message, 2, text)),
		"a message as a note":            second(key.OpenNote(message, text)),
		"a note as a message":            second(key.OpenMessage(message, 2, note)),
		"a note elsewhere":               second(samekey.OpenNote(message, note)),
		"another note":                   second(key.OpenNote(draft, note)),
		"another member's draft":         second(v.OpenDraft("paul", draft, kept)),
		"another draft":                  second(v.OpenDraft("jeanne", message, kept)),
		"another member's contact":       second(v.OpenContact(FromAccount, "paul", account)),
		"an account's contact as chosen": second(v.OpenContact(FromMember, "jeanne", account)),
		"a key elsewhere":                second(v.Key(draft, wrapped)),
		"another key set":                second(newVault(t).Key(conversation, wrapped)),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// What was sealed by earlier versions opens.
func TestVault_OpensWhatIsStored(t *testing.T) {
	t.Parallel()
	v, err := Open(`{"primaryKeyId":2053752047,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey","value":"GiBHq1u4NenPIrj/uC3MOacMblqipgBQlFI64U2ZIMu8PA==","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":2053752047,"outputPrefixType":"TINK"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(text string) []byte {
		t.Helper()
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	key, err := v.Key(conversation, decode("AXppxO9PT8aU+JnisfV5Pumi32N893BP9HK5gYpPG1aQ8Cz1z99tK9o6omYhccrT9QJDJZwkf+pWJcaXeFwuWSU="))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (string, error){
		"message": func() (string, error) {
			return key.OpenMessage(message, 1, decode("ORsXIYHDRYg46utsr88Eerp9OyABBed8ahf9l/3WjA8VIkI="))
		},
		"note": func() (string, error) {
			return key.OpenNote(message, decode("Az1iqPVemgZV+9B+XJP0jz78V30eXE57IerOmyCeoKeYPKg="))
		},
		"draft": func() (string, error) {
			return v.OpenDraft("jeanne", draft, decode("AXppxO/lX75xDbTmeDxPg9hmHEy7VnXIHkuPy5MqAaD690ArDQbItw=="))
		},
	} {
		if got, err := open(); got != "Bonjour" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := v.OpenContact(FromAccount, "jeanne", decode("AXppxO+e/0ji9Q9a8wj/7NaV5Jh2POaJxpjAFL9dLZxOZ4+9GMC2JMvaf/ZYjGoGo1GiEAr6r+VkPnIWzpcl")); got != (Contact{Email: "jeanne@example.org"}) || err != nil {
		t.Errorf("contact: %v, %v", got, err)
	}
	if got, err := v.OpenContact(FromMember, "jeanne", decode("AXppxO+hqtxeerLswFpZiX36RxLAlptbrYd7OAs/harI776FaxdSIoUtV8yLOoQxWw0EvvVHCNHE")); got != (Contact{Phone: "+33612345678"}) || err != nil {
		t.Errorf("chosen: %v, %v", got, err)
	}
}

func TestVault_Rotation(t *testing.T) {
	t.Parallel()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	open := func(h *keyset.Handle) *Vault {
		var out bytes.Buffer
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&out)); err != nil {
			t.Fatal(err)
		}
		keys, err := Open(out.String())
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	_, wrapped, err := open(handle).NewKey(conversation)
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
	if _, err := open(rotated).Key(conversation, wrapped); err != nil {
		t.Errorf("a key added took away what was there: %v", err)
	}
}

func TestOpen_SaysNothingOfASecret(t *testing.T) {
	t.Parallel()
	_, err := Open(`{"secret-of-mine":`)
	if err == nil || strings.Contains(err.Error(), "secret-of-mine") {
		t.Errorf("got %v", err)
	}
}
