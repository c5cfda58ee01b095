package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // the container has no time zones of its own
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

//go:embed templates/*.html
var templateFiles embed.FS

// paris is the time zone of dates that people read.
var paris = mustLocation("Europe/Paris")

func mustLocation(name string) *time.Location {
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // tzdata is linked in
	}
	return location
}

// languages are those that pages exist in. The first is for whoever asks for none.
var languages = []string{"fr", "en"}

// pages are the templates in one language.
type pages struct {
	lang  string
	byTag map[string]*template.Template
}

func newPages(a *assets) (map[string]*pages, error) {
	all := make(map[string]*pages)
	for _, lang := range languages {
		p := &pages{lang: lang, byTag: make(map[string]*template.Template)}
		base, err := template.New("").Funcs(p.funcs(a)).Option("missingkey=error").ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
		if err != nil {
			return nil, fmt.Errorf("reading templates: %w", err)
		}
		names, err := fs.Glob(templateFiles, "templates/*.html")
		if err != nil {
			return nil, fmt.Errorf("listing templates: %w", err)
		}
		for _, name := range names {
			tag := strings.TrimSuffix(path.Base(name), ".html")
			if tag == "layout" || tag == "parts" {
				continue
			}
			own, err := base.Clone()
			if err != nil {
				return nil, fmt.Errorf("reading template %s: %w", tag, err)
			}
			if p.byTag[tag], err = own.ParseFS(templateFiles, name); err != nil {
				return nil, fmt.Errorf("reading template %s: %w", tag, err)
			}
		}
		all[lang] = p
	}
	return all, nil
}

// funcs are what templates can call. tr has both languages side by side, so that
// neither is forgotten.
func (p *pages) funcs(a *assets) template.FuncMap {
	return template.FuncMap{
		"tr":       p.tr,
		"asset":    a.url,
		"themed":   func() bool { return a.url("theme.css") != "" },
		"day":      func(t *timestamppb.Timestamp) string { return longDay(t.AsTime(), p.lang) },
		"moment":   func(t *timestamppb.Timestamp) string { return moment(t.AsTime(), p.lang) },
		"iso":      func(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) },
		"audience": func(a taxonomypb.Audience) string { return audienceLabel(a, p.lang) },
		"status":   func(s messagingpb.Status) string { return statusLabel(s, p.lang) },
		"join":     strings.Join,
		"add":      func(a, b int) int { return a + b },
		"dict":     dict,
		"other":    func() string { return map[string]string{"fr": "en", "en": "fr"}[p.lang] },
	}
}

// tr picks the text in the page's language and fills in its verbs.
func (p *pages) tr(french, english string, args ...any) string {
	text := french
	if p.lang == "en" {
		text = english
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// dict hands several values to a template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, errors.New("dict: a name that is no string")
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// visit is one request of one person.
type visit struct {
	*site
	w       http.ResponseWriter
	r       *http.Request
	session *session
	page    *pages
	// ctx carries the person's token to the gateway.
	ctx context.Context //nolint:containedctx // a visit lasts as long as its request
}

// view is what the layout shows around a page.
type view struct {
	Lang, Path string
	// Body is the page's own data.
	Body    any
	Session *session
	// Name is who answers, Publisher who runs the site.
	Name, Publisher string
	// Unread is how many replies wait to be read; -1: not asked.
	Unread int32
	// SecondsLeft is how long the session goes on without another page.
	SecondsLeft int
	// Faults are what is to be corrected; the title then says so.
	Faults []fault
	// Flash is what was just done.
	Flash string
	// Trace is the beginning of the trace's id, or empty.
	Trace string
}

// fault is one thing to correct, with the field it is in.
type fault struct{ Field, Text string }

// Fault is the text of the fault in a field, for templates.
func (v view) Fault(field string) string {
	for _, f := range v.Faults {
		if f.Field == field {
			return f.Text
		}
	}
	return ""
}

// everybody serves a page to anybody.
func (s *site) everybody(serve func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(w, r)
		if !utf8.ValidString(r.URL.Path) {
			v.fail(errNoPage)
			return
		}
		mend(r)
		if err := serve(v); err != nil {
			v.fail(err)
		}
	}
}

// mend replaces what is not UTF-8 in a form. Pages are in UTF-8, so no browser sends
// it; a service could not be sent it, which would look like a fault of ours.
func mend(r *http.Request) {
	_ = r.ParseMultipartForm(maxFormBytes) //nolint:gosec // the body is bounded (see secured); what cannot be read is missing to the page
	for _, form := range []url.Values{r.Form, r.PostForm} {
		for _, values := range form {
			for i, value := range values {
				values[i] = strings.ToValidUTF8(value, "\ufffd")
			}
		}
	}
}

// member serves a page to a member who has chosen a profile.
func (s *site) member(serve func(*visit) error) http.HandlerFunc {
	return s.everybody(func(v *visit) error {
		switch {
		case v.session == nil:
			return v.signIn(realmMember)
		case v.session.Realm != realmMember:
			return errWrongSide
		case v.session.Audience == 0 && v.r.URL.Path != "/profil":
			return v.lead("/profil?retour=" + url.QueryEscape(v.here()))
		}
		return serve(v)
	})
}

// agent serves a page to an agent.
func (s *site) agent(serve func(*visit) error) http.HandlerFunc {
	return s.everybody(func(v *visit) error {
		switch {
		case v.session == nil:
			return v.signIn(realmAgent)
		case v.session.Realm != realmAgent:
			return errWrongSide
		}
		return serve(v)
	})
}

// errWrongSide: a member on an agent's page, or the other way round.
var errWrongSide = errors.New("this page is for the other side of the counter")

func (s *site) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{site: s, w: w, r: r, session: s.sessions.read(w, r), page: s.pages[languageOf(r)], ctx: r.Context()}
	if v.session != nil {
		v.ctx = metadata.AppendToOutgoingContext(v.ctx, "authorization", "Bearer "+v.session.Access)
	}
	return v
}

const languageCookie = "__Host-langue"

// languageOf is the language chosen on the site, else the browser's first that
// pages exist in.
func languageOf(r *http.Request) string {
	if cookie, err := r.Cookie(languageCookie); err == nil && (cookie.Value == "en" || cookie.Value == "fr") {
		return cookie.Value
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch primary, _, _ := strings.Cut(strings.ToLower(tag), "-"); primary {
		case "fr":
			return "fr"
		case "en":
			return "en"
		}
	}
	return languages[0]
}

func (v *visit) tr(french, english string, args ...any) string {
	return v.page.tr(french, english, args...)
}

// here is where the visit is, to come back to. What cannot be asked for again by
// GET leads to its page's beginning; of a draft, that is the recap, which leads on to
// the first step that is missing.
func (v *visit) here() string {
	if v.r.Method == http.MethodGet {
		return v.r.URL.RequestURI()
	}
	dir := path.Dir(v.r.URL.Path)
	switch path.Dir(dir) {
	case "/messagerie/brouillons":
		return path.Join(dir, stepRecap)
	case "/agent/modeles":
		return "/agent/modeles"
	}
	return dir
}

func (v *visit) redirect(to string) error {
	http.Redirect(v.w, v.r, to, http.StatusSeeOther) //nolint:gosec // a path of this site (see ownPath), or a service of the taxonomy
	return nil
}

func (v *visit) signIn(who realm) error {
	return v.lead("/connexion?" + url.Values{"pour": {string(who)}, "retour": {v.here()}}.Encode())
}

// lead goes to the page that has to come first. A stream of events is no page and
// cannot be led there: it is told to stop.
func (v *visit) lead(to string) error {
	if v.r.Header.Get("Accept") == "text/event-stream" {
		v.w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	return v.redirect(to)
}

// show renders a page.
func (v *visit) show(code int, tag string, body any, faults ...fault) error {
	data := view{
		Lang: v.page.lang, Path: v.r.URL.RequestURI(), Body: body, Session: v.session, Name: v.cfg.BodyName, Publisher: v.cfg.Publisher,
		Unread: -1, Faults: faults, Trace: shortTrace(v.r),
	}
	if v.session != nil {
		data.SecondsLeft = int(v.session.left(time.Now()).Seconds())
		if v.session.Realm == realmMember && v.session.Audience != 0 && code < http.StatusInternalServerError {
			data.Unread = v.unread()
		}
	}
	if v.r.Method != http.MethodGet {
		data.Path = "/"
	}
	data.Flash = v.takeFlash()
	var out bytes.Buffer
	if err := v.page.byTag[tag].ExecuteTemplate(&out, "layout", data); err != nil {
		return fmt.Errorf("rendering page %s: %w", tag, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Language", v.page.lang)
	v.w.Header().Add("Vary", "Accept-Language, Cookie")
	v.write(code, out.Bytes())
	return nil
}

// write sends a page, compressed where the browser takes that. A page compressed
// together with what an attacker has put into its address can be guessed at by its
// length (BREACH); that takes many requests with the victim's cookie, which browsers do
// not send along with another site's (SameSite=Lax).
func (v *visit) write(code int, body []byte) {
	v.w.Header().Add("Vary", "Accept-Encoding")
	if !strings.Contains(v.r.Header.Get("Accept-Encoding"), "gzip") {
		v.w.WriteHeader(code)
		_, _ = v.w.Write(body) // the reader may have gone away
		return
	}
	v.w.Header().Set("Content-Encoding", "gzip")
	v.w.WriteHeader(code)
	zip, ok := zippers.Get().(*gzip.Writer)
	if !ok {
		zip = gzip.NewWriter(nil)
	}
	defer zippers.Put(zip)
	zip.Reset(v.w)
	_, _ = zip.Write(body) // as above
	_ = zip.Close()
}

// zippers are kept: each holds some hundred kilobytes.
var zippers sync.Pool

// unread is how many replies the member has not read; -1 when nobody can tell now.
func (v *visit) unread() int32 {
	ctx, cancel := context.WithTimeout(v.ctx, 2*time.Second)
	defer cancel()
	list, err := v.members.ListConversations(ctx, &messagingpb.ListConversationsRequest{PageSize: 1})
	if err != nil {
		return -1
	}
	return list.GetUnreadCount()
}

const flashCookie = "__Host-note"

// flash says on the next page what was done. Its texts are this program's own.
func (v *visit) flash(text string) {
	setCookie(v.w, flashCookie, url.QueryEscape(text), 60)
}

// takeFlash is what was just done, once. It is left for the page that a person comes
// to: the live script may read a page at the same moment.
func (v *visit) takeFlash() string {
	if mode := v.r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return ""
	}
	cookie, err := v.r.Cookie(flashCookie)
	if err != nil || cookie.Value == "" {
		return ""
	}
	setCookie(v.w, flashCookie, "", -1)
	text, err := url.QueryUnescape(cookie.Value)
	if err != nil || len(text) > 300 {
		return ""
	}
	return text
}

// problem is a page that says what went wrong.
type problem struct {
	Code        int
	Title, Text string
	// Again is where to try again, Label what that is called.
	Again, Label string
}

// fail shows the page that fits an error.
func (v *visit) fail(err error) {
	code := status.Code(err)
	if code == codes.Unauthenticated && v.session != nil {
		// The provider has taken the token back.
		v.sessions.end(v.w)
		_ = v.signIn(v.session.Realm)
		return
	}
	p := v.problemOf(err)
	if p.Code >= http.StatusInternalServerError {
		slog.ErrorContext(v.r.Context(), "serving a page", "route", v.r.Pattern, "error", err)
	}
	if wait := waitOf(err); p.Code == http.StatusServiceUnavailable || p.Code == http.StatusTooManyRequests {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(max(wait, time.Second).Seconds())))
	}
	if err := v.show(p.Code, "problem", p); err != nil {
		slog.ErrorContext(v.r.Context(), "serving a page about a fault", "error", err)
		http.Error(v.w, p.Title, p.Code)
	}
}

// problemOf puts an error into words. Details that concern the program stay out.
func (v *visit) problemOf(err error) problem {
	home, label := "/messagerie", v.tr("Revenir à Ma messagerie", "Back to My messages")
	if v.session != nil && v.session.Realm == realmAgent {
		home, label = "/agent", v.tr("Revenir à la file", "Back to the queue")
	}
	again := problem{Again: v.here(), Label: v.tr("Réessayer", "Try again")}
	switch {
	case errors.Is(err, errWrongSide):
		return problem{
			http.StatusForbidden, v.tr("Cette page ne vous est pas destinée", "This page is not for you"),
			v.tr("Vous êtes connecté avec un compte qui n’y donne pas accès.", "You are signed in with an account that cannot see it."), home, label,
		}
	case errors.Is(err, errSignIn):
		return problem{
			http.StatusBadRequest, v.tr("La connexion n’a pas abouti", "You are not signed in"),
			v.tr("Elle a peut-être duré trop longtemps, ou été commencée dans un autre onglet.", "It may have taken too long, or have been begun in another tab."),
			"/connexion", v.tr("Se connecter à nouveau", "Sign in again"),
		}
	case errors.Is(err, errNoPage):
		return v.notFound(home, label)
	}
	switch status.Code(err) {
	case codes.NotFound, codes.InvalidArgument:
		return v.notFound(home, label)
	case codes.PermissionDenied:
		return problem{
			http.StatusForbidden, v.tr("Vous n’avez pas accès à cette page", "You cannot see this page"),
			v.tr("Votre profil ne le permet pas.", "Your profile does not allow it."), home, label,
		}
	case codes.ResourceExhausted:
		again.Code, again.Title = http.StatusTooManyRequests, v.tr("Trop d’appels en peu de temps", "Too many requests in a short time")
		again.Text = v.tr("Attendez %d secondes, puis réessayez. Rien n’a été perdu.", "Wait %d seconds, then try again. Nothing was lost.", int(max(waitOf(err), time.Second).Seconds()))
		return again
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		again.Code, again.Title = http.StatusServiceUnavailable, v.tr("Le service est momentanément indisponible", "The service is away for a moment")
		again.Text = v.tr("Réessayez dans quelques instants. Votre brouillon est conservé : vous le retrouverez dans Ma messagerie.",
			"Try again in a moment. Your draft is kept: you will find it in My messages.")
		return again
	case codes.AlreadyExists:
		return problem{
			http.StatusConflict, v.tr("Ce message a déjà été envoyé", "This message was sent already"),
			v.tr("Un message est déjà parti depuis ce brouillon, avec un autre texte. Vous le trouverez dans vos conversations.",
				"A message with another text has left from this draft. You find it among your conversations."), home, label,
		}
	case codes.FailedPrecondition, codes.Aborted:
		return v.conflict(err, home, label)
	default:
		again.Code, again.Title = http.StatusInternalServerError, v.tr("Une erreur est survenue", "Something went wrong")
		again.Text = v.tr("Elle nous est signalée. Vous pouvez réessayer.", "We have been told. You can try again.")
		return again
	}
}

// errNoPage is a page that does not exist.
var errNoPage = errors.New("no such page")

func (v *visit) notFound(home, label string) problem {
	return problem{
		http.StatusNotFound, v.tr("Cette page n’existe pas", "This page does not exist"),
		v.tr("L’adresse est peut-être incomplète, ou la conversation n’est pas la vôtre.", "The address may be incomplete, or the conversation may not be yours."), home, label,
	}
}

// conflict is about a conversation that is not in the state one thought.
func (v *visit) conflict(err error, home, label string) problem {
	p := problem{http.StatusConflict, v.tr("La conversation a changé entre-temps", "The conversation has changed meanwhile"), "", home, label}
	info := infoOf(err)
	switch info.GetReason() {
	case "CLAIM_HELD":
		until, parseErr := time.Parse(time.RFC3339, info.GetMetadata()["until"])
		p.Title = v.tr("Cette conversation est déjà prise en charge", "This conversation is already in somebody’s hands")
		p.Text = v.tr("Elle l’est par %s.", "It is in those of %s.", info.GetMetadata()["agent"])
		if parseErr == nil {
			p.Text = v.tr("Elle l’est par %s, jusqu’à %s.", "It is in those of %s, until %s.", info.GetMetadata()["agent"], until.In(paris).Format("15:04"))
		}
	case "CONVERSATION_CLOSED":
		p.Title = v.tr("Cette conversation est close", "This conversation is closed")
		p.Text = v.tr("Elle ne peut plus recevoir de message. Vous pouvez en écrire un nouveau.", "It takes no more messages. You can write a new one.")
	default:
		p.Text = v.tr("Rechargez la page pour voir où elle en est.", "Load the page again to see where it stands.")
	}
	return p
}

// infoOf is the stable reason of a refusal.
func infoOf(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// waitOf is how long a refusal says to wait.
func waitOf(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 2 * time.Second
}

// refuseForeign answers a request that another site's page has made.
func (s *site) refuseForeign(w http.ResponseWriter, r *http.Request) {
	v := &visit{site: s, w: w, r: r, page: s.pages[languageOf(r)], ctx: r.Context()}
	p := problem{
		http.StatusForbidden, v.tr("Demande refusée", "Request refused"),
		v.tr("Elle ne vient pas d’une page de Ma messagerie. Rien n’a été fait.", "It does not come from a page of My messages. Nothing was done."),
		"/messagerie", v.tr("Ouvrir Ma messagerie", "Open My messages"),
	}
	if err := v.show(p.Code, "problem", p); err != nil {
		http.Error(w, p.Title, p.Code)
	}
}

var (
	frenchDays   = [...]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}
	frenchMonths = [...]string{"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"}
)

// longDay is a day as a letter gives it, in Paris: "lundi 23 novembre 2026".
func longDay(t time.Time, lang string) string {
	t = t.In(paris)
	if lang == "en" {
		return t.Format("Monday 2 January 2006")
	}
	number := strconv.Itoa(t.Day())
	if t.Day() == 1 {
		number = "1er"
	}
	return fmt.Sprintf("%s %s %s %d", frenchDays[t.Weekday()], number, frenchMonths[t.Month()-1], t.Year())
}

// moment is a short date with the time, in Paris.
func moment(t time.Time, lang string) string {
	if lang == "en" {
		return t.In(paris).Format("2 Jan 2006, 15:04")
	}
	return t.In(paris).Format("02/01/2006 à 15:04")
}

func audienceLabel(a taxonomypb.Audience, lang string) string {
	labels := map[taxonomypb.Audience][2]string{
		taxonomypb.Audience_PARTICULIER: {"Particulier", "Private person"},
		taxonomypb.Audience_EXPLOITANT:  {"Exploitant", "Farmer"},
		taxonomypb.Audience_EMPLOYEUR:   {"Employeur", "Employer"},
	}
	if lang == "en" {
		return labels[a][1]
	}
	return labels[a][0]
}

func statusLabel(s messagingpb.Status, lang string) string {
	labels := map[messagingpb.Status][2]string{
		messagingpb.Status_SENT:               {"Envoyé", "Sent"},
		messagingpb.Status_IN_PROGRESS:        {"En cours de traitement", "In progress"},
		messagingpb.Status_PARTLY_ANSWERED:    {"Première réponse", "Partly answered"},
		messagingpb.Status_ANSWERED:           {"Répondu", "Answered"},
		messagingpb.Status_WAITING_FOR_MEMBER: {"En attente de votre part", "Waiting for you"},
		messagingpb.Status_REOPENED:           {"Rouvert", "Reopened"},
		messagingpb.Status_CLOSED:             {"Clos", "Closed"},
	}
	if lang == "en" {
		return labels[s][1]
	}
	return labels[s][0]
}
