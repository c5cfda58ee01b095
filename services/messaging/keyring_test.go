package messaging

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	cleartext, err := NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openKeyring(cleartext)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestKeyring_BindsTextToItsRow(t *testing.T) {
	t.Parallel()
	keys := newKeyring(t)
	key, wrapped, err := keys.newDataKey("c1")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.sealText("c1", "m1", 1, "Bonjour, une question")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("Bonjour")) {
		t.Fatal("the text is in its ciphertext")
	}
	key, err = keys.unwrap("c1", wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := key.openText("c1", "m1", 1, sealed); err != nil || body != "Bonjour, une question" {
		t.Fatalf("got %q, %v", body, err)
	}
	moved := map[string]func() error{
		"another conversation": func() error { _, err := key.openText("c2", "m1", 1, sealed); return err },
		"another message":      func() error { _, err := key.openText("c1", "m2", 1, sealed); return err },
		"another author":       func() error { _, err := key.openText("c1", "m1", 2, sealed); return err },
		"parts joined anew":    func() error { _, err := key.openText("c1\x00m1", "", 1, sealed); return err },
		"a key elsewhere":      func() error { _, err := keys.unwrap("c2", wrapped); return err },
		"another key set":      func() error { _, err := newKeyring(t).unwrap("c1", wrapped); return err },
	}
	for name, open := range moved {
		if open() == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestKeyring_Rotation(t *testing.T) {
	t.Parallel()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	open := func(h *keyset.Handle) *keyring {
		var out bytes.Buffer
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&out)); err != nil {
			t.Fatal(err)
		}
		keys, err := openKeyring(out.String())
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	_, wrapped, err := open(handle).newDataKey("c1")
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
	if _, err := open(rotated).unwrap("c1", wrapped); err != nil {
		t.Errorf("a key added took away what was there: %v", err)
	}
}

func TestOpenKeyring_SaysNothingOfASecret(t *testing.T) {
	t.Parallel()
	_, err := openKeyring(`{"secret-of-mine":`)
	if err == nil || strings.Contains(err.Error(), "secret-of-mine") {
		t.Errorf("got %v", err)
	}
}
