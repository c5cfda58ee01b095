package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// transit is a KMS that speaks the wire format of Vault's transit engine.
type transit struct {
	*httptest.Server
	key   tink.AEAD
	calls atomic.Int64
	// hangs has it answer nothing.
	hangs atomic.Bool
}

const transitToken = "the-token"

func newTransit(t *testing.T) *transit {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	kms := &transit{}
	if kms.key, err = aead.New(handle); err != nil {
		t.Fatal(err)
	}
	kms.Server = httptest.NewTLSServer(kms)
	t.Cleanup(kms.Close)
	return kms
}

func (kms *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kms.calls.Add(1)
	var body struct{ Plaintext, Ciphertext, AssociatedData []byte }
	var raw map[string]string
	err := json.NewDecoder(r.Body).Decode(&raw)
	body.Plaintext, _ = base64.StdEncoding.DecodeString(raw["plaintext"])
	body.AssociatedData, _ = base64.StdEncoding.DecodeString(raw["associated_data"])
	if kms.hangs.Load() {
		<-r.Context().Done()
		return
	}
	answer := make(map[string]string)
	switch operation, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/team/transit/"), "/"); {
	case r.Header.Get("X-Vault-Token") != transitToken:
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	case err != nil || name != "messagerie" || raw["context"] != "":
		http.Error(w, `{"errors":["bad request"]}`, http.StatusBadRequest)
		return
	case operation == "encrypt":
		var sealed []byte
		sealed, err = kms.key.Encrypt(body.Plaintext, body.AssociatedData)
		answer["ciphertext"] = "vault:v1:" + base64.StdEncoding.EncodeToString(sealed)
	case operation == "decrypt":
		body.Ciphertext, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(raw["ciphertext"], "vault:v1:"))
		var plain []byte
		plain, err = kms.key.Decrypt(body.Ciphertext, body.AssociatedData)
		answer["plaintext"] = base64.StdEncoding.EncodeToString(plain)
	}
	if err != nil {
		http.Error(w, `{"errors":["cipher: message authentication failed"]}`, http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": answer})
}

// open returns the KMS's key, by a token.
func (kms *transit) open(t *testing.T, token string, timeout time.Duration) *KEK {
	t.Helper()
	kek, err := openKEK("hcvault://"+kms.Listener.Addr().String()+"/team/transit/keys/messagerie", token, kms.Client(), timeout)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

// encrypted is the key set as it is now, encrypted by the KMS.
func (r *rotation) encrypted(kek *KEK) string {
	r.t.Helper()
	handle, err := r.Handle()
	if err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := handle.Write(keyset.NewJSONWriter(&out), kek.remote); err != nil {
		r.t.Fatal(err)
	}
	return out.String()
}

func TestKEK(t *testing.T) {
	t.Parallel()
	kms, r := newTransit(t), newRotation(t)
	kek := kms.open(t, transitToken, kekTimeout)
	content := r.encrypted(kek)
	keys, err := kek.OpenKeyset(content)
	if err != nil || keys.primary != r.keyset().primary || len(keys.ids) != 1 {
		t.Fatal(keys, err)
	}
	if _, err := OpenKeyset(content); err == nil {
		t.Error("the file alone opens")
	}
	before := kms.calls.Load()
	for name, wrong := range map[string]string{"not encrypted": r.json(), "nothing": "", "no JSON": "s3cret"} {
		if _, err := kek.OpenKeyset(wrong); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if kms.calls.Load() != before {
		t.Error("the KMS was asked about what is not encrypted")
	}
	if _, err := newTransit(t).open(t, transitToken, kekTimeout).OpenKeyset(content); err == nil {
		t.Error("another KMS opens it")
	}
	if _, err := kms.open(t, "another", kekTimeout).OpenKeyset(content); err == nil || strings.Contains(err.Error(), "another") || strings.Contains(err.Error(), content) {
		t.Errorf("another token: %v", err)
	}
	// Associated data counts, which the client of old ignores.
	sealed, err := kek.remote.Encrypt([]byte("x"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kek.remote.Decrypt(sealed, []byte("two")); err == nil {
		t.Error("other associated data is accepted")
	}
}

// A KMS that does not answer holds nobody up.
func TestKEK_Deadline(t *testing.T) {
	t.Parallel()
	kms, r := newTransit(t), newRotation(t)
	content := r.encrypted(kms.open(t, transitToken, kekTimeout))
	kms.hangs.Store(true)
	began := time.Now()
	_, err := kms.open(t, transitToken, 100*time.Millisecond).OpenKeyset(content)
	if took := time.Since(began); err == nil || took > 3*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
}

// The file is opened by the KMS when it changes, and not else; while the KMS is away, the key set
// before it goes on.
func TestRereadKeyset_KEK(t *testing.T) {
	t.Parallel()
	s, kms, r := newStage(t), newTransit(t), newRotation(t)
	kek := kms.open(t, transitToken, 200*time.Millisecond)
	path := filepath.Join(t.TempDir(), "keyset.json")
	write := func() {
		t.Helper()
		if err := os.WriteFile(path, []byte(r.encrypted(kek)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	keys, err := ReadKeyset(path, kek.OpenKeyset)
	if err != nil {
		t.Fatal(err)
	}
	v := s.process(t, func(cfg *Config) {
		cfg.Keyset, cfg.KeysetPath, cfg.KeysetEvery, cfg.OpenKeyset = keys, path, time.Hour, kek.OpenKeyset
	})
	if err := v.CheckKeyset(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := kms.calls.Load()
	v.followKeysetOnce(t.Context())
	if kms.calls.Load() != before {
		t.Error("the KMS was asked about a file that has not changed")
	}
	fresh := r.add()
	r.promote(fresh)
	write()
	kms.hangs.Store(true)
	v.followKeysetOnce(t.Context())
	if v.keyset.Load() != keys {
		t.Error("a key set that was not opened is used")
	}
	if fit, err := v.Fit(t.Context()); err != nil || fit.Processes != 1 {
		t.Errorf("while the KMS is away: %+v, %v", fit, err)
	}
	kms.hangs.Store(false)
	v.followKeysetOnce(t.Context())
	if got := v.keyset.Load().primary; got != fresh {
		t.Errorf("%d wraps, want %d", got, fresh)
	}
	if err := v.fits(t.Context(), newKeyset(t)); !errors.Is(err, ErrMisfit) {
		t.Errorf("got %v", err)
	}
}
