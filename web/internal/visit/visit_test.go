package visit

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// newSite is a site that asks nobody.
func newSite(t *testing.T) *Site {
	t.Helper()
	seal, err := session.NewSealer(session.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	assets, err := render.NewAssets("")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := render.NewPages(assets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Site{Seal: seal, Sessions: session.NewKeeper(seal, "http://127.0.0.1:8000", nil), ByLanguage: pages}
}

// refused is a refusal of the gateway with what it says about it.
func refused(code codes.Code, detail protoadapt.MessageV1) error {
	st, err := status.New(code, "secret detail").WithDetails(detail)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// Each refusal of the gateway has a page that says what to do, in plain words.
func TestProblems(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	limited := refused(codes.ResourceExhausted, &errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)})
	held := refused(codes.FailedPrecondition, &errdetails.ErrorInfo{
		Reason: "CLAIM_HELD", Metadata: map[string]string{"agent": "Claire Bernard", "until": "2026-11-23T17:15:00Z"},
	})
	for name, row := range map[string]struct {
		err   error
		code  int
		says  string
		retry string
	}{
		"answered":    {refused(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "ALREADY_ANSWERED"}), http.StatusConflict, "puis envoyez une réponse complémentaire", ""},
		"not claimed": {refused(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "CLAIM_NOT_HELD"}), http.StatusConflict, "Prenez-la d’abord en charge", ""},
		"erased":      {refused(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "CONVERSATION_ERASED"}), http.StatusConflict, "a été effacée", ""},
		"no scope":    {refused(codes.PermissionDenied, &errdetails.ErrorInfo{Reason: "SCOPE_MISSING"}), http.StatusForbidden, "n’a pas ce droit", ""},
		"rate":        {limited, http.StatusTooManyRequests, "Attendez 7 secondes", "7"},
		"away":        {status.Error(codes.Unavailable, "dial tcp 10.0.0.1:9090"), http.StatusServiceUnavailable, "Réessayez dans quelques instants.", "2"},
		"late":        {status.Error(codes.DeadlineExceeded, ""), http.StatusServiceUnavailable, "momentanément indisponible", "2"},
		"held":        {held, http.StatusConflict, "par Claire Bernard, jusqu’à 18 h 15", ""},
		"closed":      {refused(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "CONVERSATION_CLOSED"}), http.StatusConflict, "Cette conversation est close", ""},
		"reused":      {status.Error(codes.AlreadyExists, ""), http.StatusConflict, "est déjà parti depuis ce brouillon", ""},
		"not found":   {status.Error(codes.NotFound, ""), http.StatusNotFound, "n’est pas disponible", ""},
		"bad id":      {status.Error(codes.InvalidArgument, ""), http.StatusNotFound, "n’est pas disponible", ""},
		"forbidden":   {status.Error(codes.PermissionDenied, ""), http.StatusForbidden, "n’avez pas accès", ""},
		"broken":      {status.Error(codes.Internal, "pq: secret detail"), http.StatusInternalServerError, "Une erreur est survenue", ""},
		"wrong side":  {refusal.ErrWrongSide, http.StatusForbidden, "ne vous est pas destinée", ""},
		"no sign-in":  {session.ErrSignIn, http.StatusBadRequest, "n’a pas abouti", ""},
		"anything":    {errors.New("secret detail"), http.StatusInternalServerError, "Une erreur est survenue", ""},
		"unknown one": {refusal.ErrNoPage, http.StatusNotFound, "n’est pas disponible", ""},
	} {
		w := httptest.NewRecorder()
		s.Everybody(func(*Visit) error { return row.err })(w, httptest.NewRequest(http.MethodGet, "/messagerie", nil))
		if w.Code != row.code || !strings.Contains(w.Body.String(), row.says) || w.Header().Get("Retry-After") != row.retry {
			t.Errorf("%s: %d, Retry-After %q, %s", name, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if strings.Contains(w.Body.String(), "secret detail") || strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("%s: the page tells what concerns the program", name)
		}
	}
}

// What was just done is told on the page that a person comes to, not in one that the
// live script reads behind their back at the same moment.
func TestNoteIsForWhoNavigates(t *testing.T) {
	t.Parallel()
	serve := newSite(t).Everybody(Static("help"))
	for mode, told := range map[string]bool{"navigate": true, "": true, "cors": false, "same-origin": false} {
		r := httptest.NewRequest(http.MethodGet, "/aide", nil)
		r.AddCookie(&http.Cookie{Name: flashCookie, Value: "Envoi+fait."})
		r.Header.Set("Sec-Fetch-Mode", mode)
		w := httptest.NewRecorder()
		serve(w, r)
		taken := strings.Contains(w.Header().Get("Set-Cookie"), flashCookie)
		if strings.Contains(w.Body.String(), "Envoi fait.") != told || taken != told {
			t.Errorf("mode %q: told or taken is not %t: %s", mode, told, w.Header())
		}
	}
}
