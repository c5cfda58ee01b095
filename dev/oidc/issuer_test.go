package oidc

import (
	"testing"
	"time"

	protocol "github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// begin returns an issuer with one login that jeanne was chosen for, and its
// code "c".
func begin(t *testing.T) (*issuer, login) {
	t.Helper()
	iss := &issuer{logins: make(map[string]login), codes: make(map[string]string)}
	req := &protocol.AuthRequest{CodeChallenge: "x", CodeChallengeMethod: protocol.CodeChallengeMethodS256}
	l, err := iss.CreateAuthRequest(t.Context(), req, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := iss.choose(l.GetID(), personaNamed("jeanne")); err != nil {
		t.Fatal(err)
	}
	if err := iss.SaveAuthCode(t.Context(), l.GetID(), "c"); err != nil {
		t.Fatal(err)
	}
	return iss, iss.logins[l.GetID()]
}

// Two exchanges of a code may both have read the login before either ends it.
func TestIssuer_OneExchangeOfACode(t *testing.T) {
	t.Parallel()
	iss, l := begin(t)
	for range 2 {
		if got, err := iss.AuthRequestByCode(t.Context(), "c"); err != nil || got.GetSubject() != "jeanne" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if err := iss.DeleteAuthRequest(t.Context(), l.id); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := iss.DeleteAuthRequest(t.Context(), l.id); err == nil {
		t.Error("the second got tokens too")
	}
	if len(iss.codes) != 0 {
		t.Error("the code was kept")
	}
}

func TestIssuer_LoginsLapse(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		age    time.Duration
		lapsed bool
	}{{0, false}, {loginTime - time.Minute, false}, {loginTime + time.Second, true}} {
		iss, l := begin(t)
		l.begun = time.Now().Add(-row.age)
		iss.logins[l.id] = l
		if _, err := iss.AuthRequestByCode(t.Context(), "c"); (err != nil) != row.lapsed {
			t.Errorf("after %s: %v", row.age, err)
		}
		if kept := len(iss.logins) + len(iss.codes); row.lapsed && kept > 0 {
			t.Errorf("after %s: %d kept", row.age, kept)
		}
	}
}

// A load test has members enough, each of their own.
func TestCrowd(t *testing.T) {
	t.Parallel()
	first, last := personaNamed("particulier-0100"), personaNamed("particulier-9999")
	if first == nil || last == nil || first.Phone != "+33639980100" || last.Phone != "+33639989999" || first.Email == last.Email || first.Realm != auth.RealmMember {
		t.Errorf("%+v, %+v", first, last)
	}
	for _, name := range []string{"particulier-0000", "particulier-0099", "particulier-10000", "particulier-", "xparticulier-1000"} {
		if personaNamed(name) != nil {
			t.Errorf("%s is somebody", name)
		}
	}
}
