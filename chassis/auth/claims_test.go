package auth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// identity verifies a token with these claims, which must be accepted.
func identity(t *testing.T, iss *issuer, v *auth.Verifier, change func(map[string]any)) *auth.Identity {
	t.Helper()
	id, err := v.Verify(t.Context(), iss.token(t, change))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What a token carries locks nobody out: it is cleaned, or counts as absent.
func TestClaims_AreCleaned(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	v := iss.verifier()
	id := identity(t, iss, v, func(c map[string]any) {
		c["name"] = " Jeanne\x00\n Martin\u202e " + strings.Repeat("é", 300)
		c["email"], c["phone_number"], c["locale"], c["caisse"] = "jeanne@example.org\n", "+33639980001 ", "fr", " Armorique\t"
		c["queues"] = []any{"famille", "a\x00b", strings.Repeat("q", 65), 7, "sante\u0085", "retraite"}
		c["profiles"], c["roles"] = "PARTICULIER", nil
	})
	if len([]rune(id.Name)) != 200 || !strings.HasPrefix(id.Name, "Jeanne Martin éé") {
		t.Errorf("name %q", id.Name)
	}
	if id.Email != "jeanne@example.org" || id.Phone != "+33639980001" || id.Locale != "fr" || id.Caisse != "armorique" {
		t.Errorf("got %+v", *id)
	}
	if !slices.Equal(id.Queues, []string{"famille", "retraite"}) || !slices.Equal(id.Profiles, []string{"PARTICULIER"}) || id.Roles != nil {
		t.Errorf("queues %q, profiles %q, roles %q", id.Queues, id.Profiles, id.Roles)
	}
	// What nobody sees in a contact point is not of it; a right that is not as the issuer wrote it is none.
	id = identity(t, iss, v, func(c map[string]any) {
		c["email"], c["phone_number"], c["locale"], c["caisse"] = "je\x00anne@example.org", 33639980001, strings.Repeat("f", 65), "armo\x00rique"
		c["roles"], c["queues"] = "oper\x00ator", slices.Repeat([]string{"q"}, 1000)
	})
	if id.Email != "jeanne@example.org" || id.Phone != "33639980001" || id.Locale != "" || id.Caisse != "" || id.HasRole(auth.RoleOperator) {
		t.Errorf("got %+v", *id)
	}
	// One that is cut is none: it does not become the address of somebody else.
	id = identity(t, iss, v, func(c map[string]any) {
		c["email"], c["phone_number"] = "jeanne@"+strings.Repeat("example.org.", 100), true
	})
	if len([]rune(id.Email)) != 260 || !strings.HasSuffix(id.Email, "…") || id.Phone != "" {
		t.Errorf("got %+v", *id)
	}
	id = identity(t, iss, v, func(c map[string]any) { c["queues"] = slices.Repeat([]string{"q"}, 1000) })
	if len(id.Queues) != 256 {
		t.Errorf("%d queues", len(id.Queues))
	}
}

// A sub is an identity: what cannot be stored is replaced by something that no other
// sub is, always the same.
func TestClaims_Subject(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	v := iss.verifier()
	subject := func(sub string) string {
		return strings.TrimPrefix(identity(t, iss, v, func(c map[string]any) { c["sub"] = sub }).Subject, "usagers:")
	}
	for _, sub := range []string{"jeanne", "Élodie d’Armor", "a b", "sha256", strings.Repeat("x", 255)} {
		if got := subject(sub); got != sub {
			t.Errorf("%q became %q", sub, got)
		}
	}
	seen := make(map[string]string)
	forms := []string{"a\x00b", "a\x01b", "a\u202eb", "a\ufffdb", strings.Repeat("x", 256), strings.Repeat("x", 257), "sha256:"}
	forms = append(forms, subject("a\x00b")) // who claims the digest of another
	for _, sub := range forms {
		got := subject(sub)
		if len(got) != len("sha256:")+64 || !strings.HasPrefix(got, "sha256:") || got != subject(sub) {
			t.Errorf("%q became %q", sub, got)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q are one", sub, other)
		}
		seen[got] = sub
	}
}

// Two subs that are no valid text are two, though both read alike.
func TestClaims_SubjectIsNoText(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	v := iss.verifier()
	subjects := make(map[string]bool)
	for _, sub := range []string{"\"a\xff\"", "\"a\xfe\"", `"a\ud800"`, `"a\ufffd"`} {
		token := iss.token(t, func(c map[string]any) { c["sub"] = json.RawMessage(`"PLACE"`) })
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.Replace(payload, []byte(`"PLACE"`), []byte(sub), 1)
		id, err := v.Verify(t.Context(), signRaw(t, jose.RS256, iss.key.Load(), payload))
		if err != nil {
			t.Fatalf("%q: %v", sub, err)
		}
		subjects[id.Subject] = true
	}
	if len(subjects) != 4 {
		t.Errorf("%d subjects: %v", len(subjects), subjects)
	}
}

// A member's number is in the claim that their issuer names, a text or a whole number.
func TestClaims_Number(t *testing.T) {
	t.Parallel()
	iss := newIssuer(t)
	with := func(realm auth.Realm, claim string) *auth.Verifier {
		return auth.NewVerifier(auth.Config{Issuers: auth.Issuers{{Name: "usagers", URL: iss.URL, Realm: realm, Audiences: []string{"messagerie"}, NumberClaim: claim}}})
	}
	usual := iss.verifier()
	for _, test := range []struct {
		by    *auth.Verifier
		claim string
		value any
		want  string
	}{
		{usual, "member_number", "A1-204-517", "A1-204-517"},
		{usual, "member_number", " A1 204 517 ", "A1 204 517"},
		{usual, "member_number", 1204517, "1204517"},
		{usual, "member_number", json.RawMessage("12345678901234567890"), "12345678901234567890"}, // more than a float holds
		{usual, "member_number", strings.Repeat("1", 64), strings.Repeat("1", 64)},
		{usual, "member_number", strings.Repeat("1", 65), ""},
		{usual, "member_number", json.RawMessage(strings.Repeat("1", 65)), ""},
		{usual, "member_number", "A1\x00204", ""},
		{usual, "member_number", "A1\ufffd204", ""},
		{usual, "member_number", 12.5, ""},
		{usual, "member_number", -5, ""},
		{usual, "member_number", json.RawMessage("1e9"), ""},
		{usual, "member_number", true, ""},
		{usual, "member_number", nil, ""},
		{usual, "member_number", []string{"A1"}, ""},
		{usual, "member_number", "", ""},
		{usual, "numero", "A1-204-517", ""},
		{with(auth.RealmMember, "numero"), "numero", "A1-204-517", "A1-204-517"},
		{with(auth.RealmMember, "numero"), "member_number", "A1-204-517", ""},
		{with(auth.RealmMember, "sub"), "sub", "A1-204-517", "A1-204-517"},
		{with(auth.RealmAgent, ""), "member_number", "A1-204-517", ""},
		{with(auth.RealmMachine, "member_number"), "member_number", "A1-204-517", ""},
	} {
		if got := identity(t, iss, test.by, func(c map[string]any) { c[test.claim] = test.value }); got.Number != test.want {
			t.Errorf("%s of %v is %q, want %q", test.claim, test.value, got.Number, test.want)
		}
	}
	if got := identity(t, iss, usual, nil); got.Number != "" {
		t.Errorf("no claim: %q", got.Number)
	}
}
