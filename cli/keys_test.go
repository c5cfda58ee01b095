package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Rows without a key are a failure, with the first ids.
func TestKeys_Reconcile(t *testing.T) {
	t.Parallel()
	g := serve(t)
	exit, out, errs := g.command(t, "keys", "reconcile")
	if want := "keys without data: 2\n  u1\n  u2\nrows without their key: 3\n  m1\n"; exit != exitFailed || out != want || errs != "" {
		t.Errorf("exit %d, %q, %s", exit, out, errs)
	}
	if len(g.asked) != 2 {
		t.Errorf("asked %v", g.asked)
	}
}

func TestKeys_Status_Bad(t *testing.T) {
	t.Parallel()
	for want, key := range map[string]*messagingpb.WrappingKey{
		"BAD  1 members' keys are wrapped by unknown, which 2 of 2 processes lack": {MemberKeys: 1},
		"BAD  40 members' keys are wrapped by 6, which 1 of 2 processes lack":      {Id: 6, Processes: 1, MemberKeys: 40},
	} {
		g := serve(t)
		g.keys.Keys = append(g.keys.Keys, key)
		if exit, out, errs := g.command(t, "keys", "status"); exit != exitFailed || errs != "" || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s%s, want %q", exit, out, errs, want)
		}
	}
	for want, fit := range map[string]*messagingpb.KeyFit{
		"BAD  the key set does not fit the vault":     {PrimaryKeyId: 8, Processes: 2},
		"BAD  1 of 2 processes lack a key that wraps": {CheckValueOpens: true, PrimaryKeyId: 8, Processes: 2, ProcessesWithoutPrimary: 1},
	} {
		g := serve(t)
		g.keys.Fit = fit
		if exit, out, errs := g.command(t, "keys", "status"); exit != exitFailed || errs != "" || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s%s, want %q", exit, out, errs, want)
		}
		if exit, out, errs := g.command(t, "keys", "rewrap"); exit != exitFailed || out != "" || !strings.Contains(errs, "nothing was wrapped anew") {
			t.Errorf("rewrap: exit %d, %s%s", exit, out, errs)
		}
	}
}

// newKeyset is a file with a key set of one key.
func newKeyset(t *testing.T) (path string, id uint32) {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "keyset.json")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(file)); err != nil {
		t.Fatal(err)
	}
	return path, handle.KeysetInfo().GetPrimaryKeyId()
}

// ids are the keys of a file, the primary one first.
func ids(t *testing.T, path string) (primary uint32, all []uint32) {
	t.Helper()
	set, err := readKeyset(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range set.info().GetKeyInfo() {
		all = append(all, key.GetKeyId())
	}
	return set.info().GetPrimaryKeyId(), all
}

// A rotation takes its steps in the file, each only when the processes are ready for it, and
// tells nothing secret.
func TestKeys_Rotate(t *testing.T) {
	t.Parallel()
	path, old := newKeyset(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	g := serve(t)
	var secrets []string
	step := func(wantExit int, want string, args ...string) {
		t.Helper()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		exit, out, errs := g.command(t, append([]string{"keys", "rotate", link}, args...)...)
		if exit != wantExit || !strings.Contains(out+errs, want) {
			t.Errorf("exit %d, %s%s, want %q", exit, out, errs, want)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if (wantExit != 0) != (string(before) == string(after)) {
			t.Errorf("%s: the file has changed: %t", want, wantExit != 0)
		}
		for _, part := range strings.Split(string(after), `"value":"`)[1:] {
			secret, _, _ := strings.Cut(part, `"`)
			secrets = append(secrets, secret[4:])
		}
		for _, secret := range secrets {
			if strings.Contains(out+errs, secret) {
				t.Error("it tells a key")
			}
		}
	}
	stands := func(processes int32, keys ...*messagingpb.WrappingKey) {
		g.keys = &messagingpb.GetKeysResponse{Fit: &messagingpb.KeyFit{CheckValueOpens: true, Processes: processes}, Keys: keys}
	}
	stands(2, &messagingpb.WrappingKey{Id: old, Processes: 2, PrimaryOf: 2, MemberKeys: 9, CheckValue: true})
	step(exitFailed, "the primary key alone", "--remove-old")
	step(0, "wraps nothing yet")
	primary, all := ids(t, path)
	if primary != old || len(all) != 2 {
		t.Fatalf("%d of %v", primary, all)
	}
	fresh := all[1]
	step(exitFailed, "known to 0 of 2 processes")
	stands(2, &messagingpb.WrappingKey{Id: old, Processes: 2, PrimaryOf: 2}, &messagingpb.WrappingKey{Id: fresh, Processes: 1})
	step(exitFailed, "known to 1 of 2 processes")
	stands(0)
	step(exitFailed, "known to 0 of 0 processes")
	stands(2, &messagingpb.WrappingKey{Id: old, Processes: 2, PrimaryOf: 2}, &messagingpb.WrappingKey{Id: fresh, Processes: 2})
	step(0, strconv.Itoa(int(fresh))+" wraps")
	if primary, all = ids(t, path); primary != fresh || len(all) != 2 {
		t.Fatalf("%d of %v", primary, all)
	}
	for want, key := range map[string]*messagingpb.WrappingKey{
		"1 processes wrap by":                 {Id: old, Processes: 2, PrimaryOf: 1},
		"3 members' keys are wrapped by":      {Id: old, Processes: 2, MemberKeys: 3},
		"0 members' keys and the check value": {Id: old, Processes: 2, CheckValue: true},
	} {
		stands(2, key, &messagingpb.WrappingKey{Id: fresh, Processes: 2, PrimaryOf: 1, MemberKeys: 9})
		step(exitFailed, want, "--remove-old")
	}
	stands(2, &messagingpb.WrappingKey{Id: old, Processes: 2}, &messagingpb.WrappingKey{Id: fresh, Processes: 1, PrimaryOf: 1})
	step(exitFailed, "not every process has", "--remove-old")
	stands(2, &messagingpb.WrappingKey{Id: old, Processes: 2}, &messagingpb.WrappingKey{Id: fresh, Processes: 2, PrimaryOf: 2, CheckValue: true})
	step(0, "keys removed", "--remove-old")
	if primary, all = ids(t, path); primary != fresh || len(all) != 1 {
		t.Errorf("%d of %v", primary, all)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err = os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestKeys_Rotate_NoKeyset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	if err := os.WriteFile(path, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, out, errs := serve(t).command(t, "keys", "rotate", path); exit != exitFailed || out != "" || !strings.Contains(errs, "no tink key set") || strings.Contains(errs, "s3cret") {
		t.Errorf("exit %d, %s%s", exit, out, errs)
	}
}

// transit is a KMS that speaks the wire format of Vault's transit engine. It is no cipher.
func transit(t *testing.T) (uri string, by http.RoundTripper) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("X-Vault-Token") != "kms-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		answer := map[string]string{"ciphertext": "vault:v1:" + strings.ToUpper(hex.EncodeToString([]byte(body["plaintext"])))}
		if strings.HasPrefix(r.URL.Path, "/v1/transit/decrypt/") {
			plain, _ := hex.DecodeString(strings.ToLower(strings.TrimPrefix(body["ciphertext"], "vault:v1:")))
			answer = map[string]string{"plaintext": string(plain)}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": answer})
	}))
	t.Cleanup(server.Close)
	return "hcvault://" + server.Listener.Addr().String() + "/transit/keys/messagerie", server.Client().Transport
}

// A key set is encrypted by a KMS, and rotated there.
func TestKeys_Rotate_KMS(t *testing.T) {
	t.Parallel()
	path, old := newKeyset(t)
	uri, by := transit(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("kms-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := serve(t)
	step := func(want string, fails bool, kek kms) {
		t.Helper()
		var out bytes.Buffer
		s := &session{ctx: t.Context(), out: &out, kms: by, messaging: messagingpb.NewOperatorServiceClient(g.dial(t))}
		err := (&rotateKeys{kms: kek, File: path}).Run(s)
		if text := fmt.Sprint(out.String(), err); (err != nil) != fails || !strings.Contains(text, want) || strings.Contains(text, "kms-token") {
			t.Errorf("%s, want %q", text, want)
		}
	}
	kek := kms{KEK: uri, KEKTokenFile: token}
	step("--kek-token-file", true, kms{KEK: uri})
	step("hcvault://host:port", true, kms{KEK: "https://kms/transit/keys/k", KEKTokenFile: token})
	step("is encrypted by hcvault://", false, kek)
	content, err := os.ReadFile(path)
	if err != nil || !encrypted(content) || strings.Contains(string(content), `"value"`) {
		t.Fatalf("%s, %v", content, err)
	}
	step("give --kek", true, kms{})
	step("wraps nothing yet", false, kek)
	remote, err := kek.open(&http.Client{Transport: by})
	if err != nil {
		t.Fatal(err)
	}
	set, err := readKeyset(path, remote)
	if err != nil || !set.encrypted || set.info().GetPrimaryKeyId() != old || len(set.info().GetKeyInfo()) != 2 {
		t.Errorf("%v, %v", set, err)
	}
	if err := os.WriteFile(token, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	step("by the KMS", true, kek)
}
