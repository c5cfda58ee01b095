package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ma-messagerie/messagerie/dev/oidc"
)

// members are how many people submit, in turn: four times as many as submit at
// once, so that no bound per caller is met.
const members = 4 * submitters

// people is the development's OIDC provider, with a token for each member.
type people struct {
	*oidc.Provider
	srv    *http.Server
	tokens []string
	next   atomic.Int64
}

// everybody starts the provider, once: all systems of a run believe it.
func (r *rig) everybody() (*people, error) {
	if r.people != nil {
		return r.people, nil
	}
	addrs, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	// No run lasts a day.
	cfg := oidc.Config{BaseURL: "http://" + addrs[0], StateDir: filepath.Join(r.dir, "oidc"), TokenLifetime: 24 * time.Hour}
	provider, err := oidc.New(cfg)
	if err != nil {
		return nil, err
	}
	p := &people{Provider: provider, srv: &http.Server{Addr: addrs[0], Handler: provider, ReadHeaderTimeout: 5 * time.Second}}
	for i := range members {
		token, err := provider.Token(fmt.Sprintf("particulier-%04d", 100+i))
		if err != nil {
			return nil, err
		}
		p.tokens = append(p.tokens, token)
	}
	go func() { _ = p.srv.ListenAndServe() }()
	r.people = p
	return p, nil
}

// token is the next member's.
func (p *people) token() string {
	return p.tokens[int(p.next.Add(1))%len(p.tokens)]
}

func (p *people) close() { _ = p.srv.Close() }
