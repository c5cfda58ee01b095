package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

// Visitor is somebody who is signed in to the pages of the front end. It keeps
// cookies as a browser on this machine does, which sends secure ones to the loopback
// address in plain HTTP; net/http/cookiejar would not.
type Visitor struct {
	base   string
	client *http.Client
	draft  string

	mu      sync.Mutex
	cookies map[string]string
}

// signInPatience bounds one page of a sign-in.
const signInPatience = 20 * time.Second

// loginID is in the form with which a persona is chosen.
var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// SignIn goes through the pages as a persona; realm is member or agent.
func SignIn(ctx context.Context, f *fleet.Fleet, realm, persona string) (*Visitor, error) {
	v := &Visitor{base: "http://" + f.WebAddr, cookies: make(map[string]string), client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 20 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	ctx, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	authorize, err := v.follow(ctx, http.MethodGet, v.base+"/connexion/"+realm, nil)
	if err != nil {
		return nil, fmt.Errorf("signing %s in: %w", persona, err)
	}
	login, err := v.follow(ctx, http.MethodGet, authorize, nil)
	if err != nil {
		return nil, fmt.Errorf("signing %s in: %w", persona, err)
	}
	_, _, page, err := v.do(ctx, http.MethodGet, login, nil)
	if err != nil {
		return nil, fmt.Errorf("signing %s in: %w", persona, err)
	}
	id := loginID.FindStringSubmatch(page)
	if id == nil {
		return nil, errors.New("the page on which personas are chosen has no form")
	}
	at, _, _ := strings.Cut(login, "?")
	next, err := v.follow(ctx, http.MethodPost, at, url.Values{"id": {id[1]}, "persona": {persona}})
	for range 3 { // the code, the callback, the page
		if err == nil && next != "" && !strings.HasPrefix(next, v.base+"/auth/") {
			next, err = v.follow(ctx, http.MethodGet, next, nil)
		}
	}
	if err == nil {
		_, err = v.follow(ctx, http.MethodGet, next, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("signing %s in: %w", persona, err)
	}
	return v, nil
}

// follow makes a request that must be answered with another address.
func (v *Visitor) follow(ctx context.Context, method, at string, form url.Values) (string, error) {
	status, location, _, err := v.do(ctx, method, at, form)
	if err != nil {
		return "", err
	}
	if status < 300 || status > 399 {
		path, _, _ := strings.Cut(at, "?")
		return "", fmt.Errorf("%s answers %d, not with another address", path, status)
	}
	base, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	next, err := base.Parse(location)
	if err != nil {
		return "", err
	}
	return next.String(), nil
}

func (v *Visitor) do(ctx context.Context, method, at string, form url.Values) (status int, location, page string, err error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return 0, "", "", err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasPrefix(at, v.base+"/") {
		req.Header.Set("Cookie", v.Cookies())
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer resp.Body.Close()
	if strings.HasPrefix(at, v.base+"/") {
		v.keep(resp.Cookies())
	}
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Location"), string(raw), err
}

func (v *Visitor) keep(cookies []*http.Cookie) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, cookie := range cookies {
		if cookie.MaxAge < 0 {
			delete(v.cookies, cookie.Name)
		} else {
			v.cookies[cookie.Name] = cookie.Value
		}
	}
}

// Cookies are what a browser sends along.
func (v *Visitor) Cookies() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]string, 0, len(v.cookies))
	for name, value := range v.cookies {
		list = append(list, name+"="+value)
	}
	return strings.Join(list, "; ")
}

// Begin answers the first question of a new message, so that there is a draft whose
// further pages can be visited.
func (v *Visitor) Begin(ctx context.Context) error {
	v.draft = uuid.NewString()
	_, err := v.follow(ctx, http.MethodPost, v.base+"/messagerie/brouillons/"+v.draft+"/theme", url.Values{"theme": {"famille-logement"}})
	return err
}

// paths are what a visitor looks at.
func (v *Visitor) paths() []string {
	return []string{
		"/messagerie", "/messagerie?q=allocations", "/messagerie/nouveau", "/messagerie/brouillons/" + v.draft + "/sujet", "/messagerie?q=paiement",
	}
}

// visit reads a page, which must be there.
func (v *Visitor) visit(ctx context.Context, path string) error {
	status, _, _, err := v.do(ctx, http.MethodGet, v.base+path, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		at, _, _ := strings.Cut(path, "?")
		return fmt.Errorf("%s answers %d", at, status)
	}
	return nil
}
