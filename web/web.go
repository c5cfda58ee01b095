// Package web is the reference front end: the guide's screens for members, and the
// console of the agents. It renders pages on the server, works without JavaScript,
// and talks to the gateway alone, as any other front end would.
//
// [Run] is the process: its settings, what holds for every answer, and the pages that are for
// everybody. What one request has is in package visit, the members' pages are in package member,
// the agents' in package console.
//
// # Where things are kept
//
// The process keeps nothing that it could not ask for again: the taxonomy for as long as
// its answer says (package taxonomy), the tokens of a session that was just renewed for ten
// seconds (package session). Who is signed in, with which tokens, is in a cookie that only this
// site can open, so tokens never reach a script, and any replica serves any request. What
// somebody has typed and sent, and what could not be taken, is on the page that says why, or
// carried through the sign-in in cookies (package kept).
//
// # What is refused
//
// A request that changes something must come from this site's own pages
// (http.CrossOriginProtection: Sec-Fetch-Site and Origin). No page may run a script
// or load a style that is not a file of this program, send a form elsewhere, or be
// framed (Content-Security-Policy, Trusted Types). A cookie that was not sealed here
// is no session. What somebody may see is decided by the services behind the
// gateway, not here.
//
// A person, or an address that nobody has signed in from, gets a bounded number of
// requests, streams and connections (package bound): whatever one of them does, idle, slow or
// greedy, nobody else's page fails because of it.
//
// # When it breaks
//
// Whoever steals the cookie is that person until it ends (30 minutes without a
// page, eight hours at most); for sessions among several replicas, see package session. While
// the gateway is away, pages say so, with what was written.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/felixge/httpsnoop"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/bound"
	"github.com/ma-messagerie/messagerie/web/internal/click"
	"github.com/ma-messagerie/messagerie/web/internal/link"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// Config is read from WEB_*.
type Config struct {
	chassis.Process
	// Bounds are what one person, or one address, may have of this front end.
	fair.Bounds

	// HTTPAddr is where pages are served, in plain HTTP: TLS is the ingress's.
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8000"`
	// HTTPListener is used instead of HTTPAddr when not nil.
	HTTPListener net.Listener
	// PublicURL is the address that browsers use, without a path. It must be
	// https, except on the machine itself.
	PublicURL string `env:"PUBLIC_URL,required"`
	// GatewayAddr is the gRPC target of the gateway.
	GatewayAddr string `env:"GATEWAY_ADDR" envDefault:"dns:///gateway:9090"`

	// GatewayCAPath is the authority (PEM) that signs the gateway's certificate; if empty,
	// the connection is in plain text.
	GatewayCAPath string `env:"GATEWAY_CA_PATH"`

	// Members and Agents are the two OpenID providers: WEB_MEMBERS_*, WEB_AGENTS_*.
	Members Provider `envPrefix:"MEMBERS_"`
	Agents  Provider `envPrefix:"AGENTS_"`
	// SessionKey seals cookies: 32 bytes in base64. Several, separated by commas,
	// rotate it: the first seals, all open.
	SessionKey string `env:"SESSION_KEY,required"`

	// FundName is the fund that answers, as shown at the head of each page.
	FundName string `env:"BODY_NAME" envDefault:"Votre caisse"`
	// ThemePath is a CSS file that is loaded after the built-in one; it may set the
	// tokens at the top of app.css to other colours and typefaces.
	ThemePath string `env:"THEME_PATH"`
	// OwnSites are the host names of the fund's own sites, separated by commas: addresses there,
	// and below them, are links in what agents write (package link).
	OwnSites []string `env:"OWN_SITES"`
	// Accessibility is the state that decree 2019-768 has declared (not, partial, full), with
	// what the audit has found and where to say what is in one's way.
	Accessibility        string `env:"ACCESSIBILITY" envDefault:"not"`
	AccessibilityAudit   string `env:"ACCESSIBILITY_AUDIT"`
	AccessibilityContact string `env:"ACCESSIBILITY_CONTACT"`
	// Publisher is named in the legal notice.
	Publisher string `env:"PUBLISHER" envDefault:"Ma messagerie"`
}

// maxName is the most characters of a name at the head of a page or in its notices.
const maxName = 100

// Provider is an OpenID provider and this front end's registration with it.
type Provider = session.Provider

// Validate reports all faults that types do not show.
func (c Config) Validate() error {
	faults := []error{c.Bounds.Validate()}
	public, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || public.Host == "" || strings.Trim(public.Path, "/") != "" || public.User != nil || strings.ContainsAny(c.PublicURL, "?#"):
		faults = append(faults, fmt.Errorf("PUBLIC_URL %q is not of the form https://host", c.PublicURL))
	case public.Scheme != "https" && !isLoopback(public.Hostname()):
		faults = append(faults, fmt.Errorf("PUBLIC_URL %q must be https: browsers keep the session's cookie on no other", c.PublicURL))
	}
	if _, err := session.NewSealer(c.SessionKey); c.SessionKey != "" && err != nil {
		faults = append(faults, err)
	}
	if c.ThemePath != "" {
		if _, err := os.ReadFile(c.ThemePath); err != nil {
			faults = append(faults, fmt.Errorf("reading THEME_PATH: %w", err))
		}
	}
	faults = append(faults, plain.Setting("BODY_NAME", c.FundName, maxName), plain.Setting("PUBLISHER", c.Publisher, maxName),
		link.Sites(c.OwnSites).Validate(), c.statement().Validate())
	return errors.Join(faults...)
}

func (c Config) statement() render.Statement {
	return render.Statement{State: cmp.Or(c.Accessibility, render.NotConforming), Audit: c.AccessibilityAudit, Contact: c.AccessibilityContact}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// NewSessionKey returns a new key for Config.SessionKey.
func NewSessionKey() string { return session.NewKey() }

// site is the running front end.
type site struct {
	*visit.Site
	cfg    Config
	assets *render.Assets
}

// Run serves until ctx is done, then lets requests under way end.
func Run(ctx context.Context, cfg Config) error {
	secured, err := rpc.TLSClient(cfg.GatewayCAPath)
	if err != nil {
		return err
	}
	// The gateway does not let clients watch its health.
	unwatched := grpc.WithDisableHealthCheck()
	conn, err := rpc.Dial(cfg.GatewayAddr, nil, secured, unwatched)
	if err != nil {
		return err
	}
	defer conn.Close()
	streams, err := rpc.Dial(cfg.GatewayAddr, nil, secured, unwatched)
	if err != nil {
		return err
	}
	defer streams.Close()
	s, err := newSite(ctx, cfg, conn, streams)
	if err != nil {
		return err
	}
	lis := cfg.HTTPListener
	if lis == nil {
		if lis, err = chassis.ListenOutside(ctx, cfg.HTTPAddr, "WEB_HTTP_ADDR"); err != nil {
			return err
		}
	}
	admin := &chassis.Admin{}
	// Readiness does not depend on the gateway: a page that says that the service is away is
	// better than a load balancer's error.
	server := &http.Server{
		Handler: s.handler(admin), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaderBytes, ConnContext: bound.WithConn,
		DisableGeneralOptionsHandler: true, // the server's own answers would not be counted
		ErrorLog:                     slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	back, endBack := context.WithCancel(context.WithoutCancel(ctx))
	defer endBack()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return admin.Serve(back, cfg.AdminAddr) })
	group.Go(func() error {
		defer endBack()
		return admin.Linger(ctx, cfg.DrainDelay, func(ctx context.Context) error {
			return chassis.ServeHTTP(ctx, server, cfg.Listen(lis, nil), cfg.DrainTimeout)
		})
	})
	return group.Wait()
}

func newSite(ctx context.Context, cfg Config, conn, streams grpc.ClientConnInterface) (*site, error) {
	seal, err := session.NewSealer(cfg.SessionKey)
	if err != nil {
		return nil, err
	}
	assets, err := render.NewAssets(cfg.ThemePath)
	if err != nil {
		return nil, err
	}
	pages, err := render.NewPages(assets, cfg.OwnSites)
	if err != nil {
		return nil, err
	}
	public := strings.TrimRight(cfg.PublicURL, "/")
	s := &site{cfg: cfg, assets: assets, Site: &visit.Site{
		FundName: cfg.FundName, Publisher: cfg.Publisher, Statement: cfg.statement(), ByLanguage: pages, Gateway: conn, Watches: streams, Ending: ctx.Done(),
		Seal: seal, Sessions: session.NewKeeper(seal, public, map[session.Realm]Provider{session.Member: cfg.Members, session.Agent: cfg.Agents}),
		Trees: taxonomy.NewTrees(taxonomypb.NewTaxonomyServiceClient(conn)),
	}}
	s.Bounds = bound.New(cfg.Bounds, s.caller)
	return s, nil
}

// caller returns who a request counts against: who is signed in, else the address.
func (s *site) caller(r *http.Request) (id string, signedIn bool) {
	if held := s.Sessions.Opened(r); held != nil && held.ID != "" && !held.Over(time.Now()) {
		return held.ID, true
	}
	return "address " + s.cfg.Client(r.RemoteAddr, r.Header.Values("X-Forwarded-For")), false
}

// handler is every page, behind what holds for all of them.
func (s *site) handler(admin *chassis.Admin) http.Handler {
	mux := http.NewServeMux()
	s.routes(mux)
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := admin.Ready(r.Context()); err != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /static/", s.assets)
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(s.RefuseForeign))
	over := secured(foreign.Handler(s.Everybody((*visit.Visit).ShowTooMany)))
	return s.Bounds.Requests(click.Traced(otelhttp.NewHandler(secured(logged(foreign.Handler(mux))), "web", otelhttp.WithServerName("web:80"),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/livez" && r.URL.Path != "/readyz" }))), bound.Refuse(policy, over))
}

// policy is what pages may load and do. Styles and scripts are this program's files;
// there is no inline one.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// secured sets what every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		header.Set("Cache-Control", "no-store")
		if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		click.Announce(w, r)
		r.Body = http.MaxBytesReader(w, r.Body, visit.MaxFormBytes)
		next.ServeHTTP(w, r)
	})
}

// maxHeaderBytes is above a session of four cookies of 3800 bytes and a kept form of two,
// with all else that a head has.
const maxHeaderBytes = 32 << 10

// logged writes a line for each page. Its route is what the mux has found, not the
// address, which names a conversation.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httpsnoop.CaptureMetrics(next, w, r)
		if !strings.HasPrefix(r.URL.Path, "/static/") && r.URL.Path != "/livez" && r.URL.Path != "/readyz" {
			slog.InfoContext(r.Context(), "page", "method", r.Method, "route", r.Pattern, "status", answer.Code,
				"duration_ms", float64(answer.Duration.Microseconds())/1000)
		}
	})
}
