package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/stream"
)

const (
	someID = "0199f0b2-0000-7000-8000-000000000000"
	// What a member writes, in a body and in a query: TestMain looks for it in
	// every log line and span of the package's tests.
	canary      = "le chat de ma voisine"
	canaryQuery = "canari-dans-la-question"
)

// violation is the first field fault of an error.
func violation(st *status.Status) (field, reason, text string) {
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 0 {
			v := bad.GetFieldViolations()[0]
			return v.GetField(), v.GetReason(), v.GetDescription()
		}
	}
	return "", "", ""
}

// handled is how many of the calls a service may do: those that are not marked as a part.
func handled(arrivals []arrival) (n int) {
	for _, seen := range arrivals {
		if !seen.partial {
			n++
		}
	}
	return n
}

func TestBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, row := range []struct{ name, body, field, reason string }{
		{"unknown field", `{"audience":"PARTICULIER","theme":"x","sujet":"` + canary + `"}`, "sujet", "FIELD_UNKNOWN"},
		{"unknown field with an odd name", `{"` + canary + `":1}`, "body", "FIELD_UNKNOWN"},
		{"a field twice", `{"theme":"x","theme":"y"}`, "theme", "FIELD_DUPLICATE"},
		{"a field under both its names", `{"taxonomyVersion":1,"taxonomy_version":1}`, "taxonomy_version", "FIELD_DUPLICATE"},
		{"unknown audience", `{"audience":"` + canary + `"}`, "audience", "VALUE_UNKNOWN"},
		{"an audience by number", `{"audience":1,"theme":"x"}`, "audience", "VALUE_UNKNOWN"},
		{"the audience that is none", `{"audience":"AUDIENCE_UNSPECIFIED","theme":"x"}`, "audience", "VALUE_UNKNOWN"},
		{"number for text", `{"text":12}`, "text", "VALUE_INVALID"},
		{"fraction", `{"taxonomyVersion":1.5}`, "taxonomyVersion", "VALUE_INVALID"},
		{"lone high surrogate", `{"text":"` + canary + ` \ud83d"}`, "text", "VALUE_INVALID"},
		{"lone low surrogate", `{"text":"\ude00 ` + canary + `"}`, "text", "VALUE_INVALID"},
		{"invalid UTF-8", "{\"text\":\"" + canary + " \xff\"}", "body", "JSON_MALFORMED"},
		{"overlong UTF-8", "{\"text\":\"\xc0\xaf\"}", "body", "JSON_MALFORMED"},
		{"cut short", `{"text":"` + canary, "body", "JSON_MALFORMED"},
		{"something after it", `{"theme":"x"} ` + canary, "body", "JSON_MALFORMED"},
		{"two objects", `{"theme":"x"}{"theme":"y"}`, "body", "JSON_MALFORMED"},
		{"a list", `["` + canary + `"]`, "body", "JSON_MALFORMED"},
		{"null", `null`, "body", "JSON_MALFORMED"},
		{"byte order mark", "\ufeff{}", "body", "JSON_MALFORMED"},
		{"deep", strings.Repeat(`{"a":`, 10_500) + "1" + strings.Repeat("}", 10_500), "body", "JSON_MALFORMED"},
	} {
		got := s.rest(t, "member", "POST", "/v1/conversations", row.body)
		if got.code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", row.name, got.code, got.body)
			continue
		}
		field, reason, _ := violation(got.status(t))
		if field != row.field || reason != row.reason {
			t.Errorf("%s: %s %s, want %s %s", row.name, field, reason, row.field, row.reason)
		}
		if strings.Contains(got.body, canary) {
			t.Errorf("%s: the answer quotes the text: %s", row.name, got.body)
		}
		if n := handled(s.take()); n != 0 {
			t.Errorf("%s: %d calls arrived to be done", row.name, n)
		}
	}
}

// What GET gave of a draft without an audience is taken by PUT, and by no other method: there
// the value stands for nothing.
func TestBodies_AudienceOfADraft(t *testing.T) {
	t.Parallel()
	s := start(t)
	path := "/v1/drafts/" + someID
	for body, want := range map[string]taxonomypb.Audience{
		`{"audience":"AUDIENCE_UNSPECIFIED","text":"a"}`: taxonomypb.Audience_AUDIENCE_UNSPECIFIED,
		`{"audience":"EMPLOYEUR","text":"a"}`:            taxonomypb.Audience_EMPLOYEUR,
		`{"text":"a"}`:                                   taxonomypb.Audience_AUDIENCE_UNSPECIFIED,
	} {
		if got := s.rest(t, "member", "PUT", path, body); got.code != http.StatusOK {
			t.Errorf("%s: %d %s", body, got.code, got.body)
			continue
		}
		if audience := s.last(t).request.(*messagingpb.SaveDraftRequest).GetAudience(); audience != want {
			t.Errorf("%s: arrived as %s", body, audience)
		}
	}
	if got := s.rest(t, "member", "PUT", path, `{"audience":0}`); got.code != http.StatusBadRequest || !strings.Contains(got.body, "AUDIENCE_UNSPECIFIED, PARTICULIER") {
		t.Errorf("by number: %d %s", got.code, got.body)
	}
}

// An enum's parameter that is empty is not given, as a text's is. It is still one of two.
func TestQuery_EmptyEnum(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, want := range map[string]string{
		"?hidden=false&pageSize=0&pageToken=&audience=": "",
		"?audience=&pageSize=5":                         "",
		"?audience=&audience=":                          "audience PARAMETER_DUPLICATE",
		"?audience=&debug=1":                            "debug PARAMETER_UNKNOWN",
		"?audience=%20":                                 "audience VALUE_UNKNOWN",
	} {
		s.take()
		got := s.rest(t, "member", "GET", "/v1/conversations"+path, "")
		switch {
		case want == "" && got.code != http.StatusOK:
			t.Errorf("%s: %d %s", path, got.code, got.body)
		case want != "":
			if told := faultsOf(got.status(t)); !slices.Equal(told, []string{want}) {
				t.Errorf("%s: %q, want %q", path, told, want)
			}
		case strings.Contains(path, "=5") && s.last(t).request.(*messagingpb.ListConversationsRequest).GetPageSize() != 5:
			t.Errorf("%s: what is beside it has not arrived", path)
		}
	}
	for path, want := range map[string]int{"?status=": 0, "?status=&status=SENT": 1} {
		s.take()
		if got := s.rest(t, "agent", "GET", "/v1/agent/conversations"+path, ""); got.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.code, got.body)
		} else if statuses := s.last(t).request.(*messagingpb.AgentServiceListConversationsRequest).GetStatus(); len(statuses) != want {
			t.Errorf("%s: arrived as %v", path, statuses)
		}
	}
	if told := faultsOf(s.rest(t, "nobody", "GET", "/v1/taxonomy?audience=", "").status(t)); !slices.Equal(told, []string{"audience REQUIRED"}) {
		t.Errorf("one that is needed: %q", told)
	}
}

func TestBodiesArriveAsWritten(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, row := range map[string]struct{ body, want string }{
		"pair of surrogates": {`{"audience":"PARTICULIER","theme":"x","text":"\ud83d\ude00"}`, "😀"},
		"raw":                {`{"audience":"PARTICULIER","theme":"x","text":"é😀<&>\u2028"}`, "é😀<&>\u2028"},
		"controls pass on":   {`{"audience":"PARTICULIER","theme":"x","text":"a\u0000\r\nb\u202e"}`, "a\x00\r\nb\u202e"},
		"null is absent":     {`{"audience":"PARTICULIER","theme":"x","text":null}`, ""},
		"white space around": {" \n{\"audience\":\"PARTICULIER\",\"theme\":\"x\",\"text\":\"a\"}\n ", "a"},
	} {
		if got := s.rest(t, "member", "POST", "/v1/conversations", row.body); got.code != http.StatusOK {
			t.Errorf("%s: %d %s", name, got.code, got.body)
			continue
		}
		if text := s.last(t).request.(*messagingpb.SubmitMessageRequest).GetText(); text != row.want {
			t.Errorf("%s: %q arrived, want %q", name, text, row.want)
		}
	}
}

func TestEmptyBodies(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, body := range []string{"", "{}", " \n"} {
		got := s.rest(t, "agent", "POST", "/v1/agent/conversations/"+someID+":claim", body)
		if got.code != http.StatusOK {
			t.Errorf("%q: %d %s", body, got.code, got.body)
			continue
		}
		if id := s.last(t).request.(*messagingpb.ClaimConversationRequest).GetId(); id != someID {
			t.Errorf("%q: claims %q", body, id)
		}
	}
}

// A search takes its words in a body or in the query, not in both, and TestMain sees that they are
// in no log line, span or metric.
func TestBothFormsOfASearch(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, row := range []struct{ verb, path, body, want string }{
		{"POST", "", `{"audience":"PARTICULIER","q":"` + canary + `"}`, canary},
		{"GET", "?audience=PARTICULIER&q=" + canaryQuery, "", canaryQuery},
		{"POST", "?q=" + canaryQuery, `{"audience":"PARTICULIER"}`, ""},
		{"GET", "?audience=PARTICULIER", `{"q":"` + canary + `"}`, ""},
		{"POST", "", `{"audience":"PARTICULIER","q":"` + canary + `","words":1}`, ""},
	} {
		got := s.rest(t, "nobody", row.verb, "/v1/reasons:search"+row.path, row.body)
		calls := s.take()
		if row.want == "" {
			if got.code != http.StatusBadRequest || handled(calls) != 0 {
				t.Errorf("%s %s %s: %d %s", row.verb, row.path, row.body, got.code, got.body)
			}
			continue
		}
		if got.code != http.StatusOK || handled(calls) != 1 {
			t.Errorf("%s %s: %d %s", row.verb, row.path, got.code, got.body)
			continue
		}
		if search := calls[len(calls)-1].request.(*taxonomypb.SearchReasonsRequest); search.GetQ() != row.want || search.GetAudience() != taxonomypb.Audience_PARTICULIER {
			t.Errorf("%s: %v arrived", row.verb, search)
		}
	}
	if got := s.rest(t, "nobody", "PUT", "/v1/reasons:search", "{}"); got.code != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d, Allow %q", got.code, got.header.Get("Allow"))
	}
}

// How a search ended is told in a body alone, by a member; TestMain sees that its words are in no log
// line, span or metric.
func TestRecordSearch(t *testing.T) {
	t.Parallel()
	s := start(t)
	const path = "/v1/reasons:recordSearch"
	body := `{"audience":"PARTICULIER","q":"` + canary + `","chosen":true}`
	if got := s.rest(t, "member", "POST", path, body); got.code != http.StatusOK || strings.TrimSpace(got.body) != "{}" {
		t.Fatalf("%d %s", got.code, got.body)
	}
	if req := s.last(t).request.(*taxonomypb.RecordSearchRequest); req.GetQ() != canary || !req.GetChosen() {
		t.Errorf("%v arrived", req)
	}
	s.take()
	for _, row := range []struct {
		caller, path, body string
		code               int
	}{
		{"member", path + "?q=" + canaryQuery, body, http.StatusBadRequest},
		{"member", path, `{"audience":"PARTICULIER","q":"` + canary + `","chosen":"` + canary + `"}`, http.StatusBadRequest},
		{"agent", path, body, http.StatusForbidden},
		{"nobody", path, body, http.StatusUnauthorized},
	} {
		if got := s.rest(t, row.caller, "POST", row.path, row.body); got.code != row.code || strings.Contains(got.body, canary) {
			t.Errorf("%s %s %s: %d %s", row.caller, row.path, row.body, got.code, got.body)
		}
	}
	if n := handled(s.take()); n != 0 {
		t.Errorf("%d of those refused arrived", n)
	}
}

func TestQueriesAreReadStrictly(t *testing.T) {
	t.Parallel()
	s := start(t)
	const conversations, queue = "/v1/conversations", "/v1/agent/conversations"
	for _, row := range []struct{ caller, path, field, reason string }{
		{"member", conversations + "?hidden=true&pageSize=5&pageToken=x&audience=EXPLOITANT", "", ""},
		{"agent", queue + "?status=SENT&status=CLOSED", "", ""},
		{"member", conversations + "?pageToken=" + canaryQuery, "", ""},
		{"member", conversations + "?pageSize=" + canaryQuery, "pageSize", "VALUE_INVALID"},
		{"member", conversations + "?" + canaryQuery + "=1", "query", "PARAMETER_UNKNOWN"},
		{"member", conversations + "?pagesize=5", "pagesize", "PARAMETER_UNKNOWN"},
		{"member", conversations + "?page_size=5", "page_size", "PARAMETER_UNKNOWN"},
		{"member", conversations + "?%C3%A9=5", "query", "PARAMETER_UNKNOWN"},
		{"member", conversations + "?pageSize=5&pageSize=6", "pageSize", "PARAMETER_DUPLICATE"},
		{"member", conversations + "?pageSize=many", "pageSize", "VALUE_INVALID"},
		{"member", conversations + "?pageSize=4294967296", "pageSize", "VALUE_INVALID"},
		{"member", conversations + "?hidden=maybe", "hidden", "VALUE_INVALID"},
		{"member", conversations + "?audience=NOBODY", "audience", "VALUE_UNKNOWN"},
		{"member", conversations + "?pageToken=%FF", "pageToken", "VALUE_INVALID"},
		{"member", conversations + "?pageToken=%zz", "query", "QUERY_MALFORMED"},
		{"member", conversations + "/" + someID + "?id=other", "id", "PARAMETER_UNKNOWN"},
		{"agent", queue + "?status=SENT&status=LOST", "status", "VALUE_UNKNOWN"},
		{"agent", queue + "?status=SENT&status=2", "status", "VALUE_UNKNOWN"},
		{"member", conversations + "?audience=1", "audience", "VALUE_UNKNOWN"},
		{"member", conversations + "?audience=AUDIENCE_UNSPECIFIED", "audience", "VALUE_UNKNOWN"},
	} {
		got := s.rest(t, row.caller, "GET", row.path, "")
		arrived := handled(s.take())
		if row.reason == "" {
			if got.code != http.StatusOK || arrived != 1 {
				t.Errorf("%s: %d %s", row.path, got.code, got.body)
			}
			continue
		}
		field, reason, _ := violation(got.status(t))
		if got.code != http.StatusBadRequest || field != row.field || reason != row.reason || arrived != 0 {
			t.Errorf("%s: %d %s %s, %d arrived, want %s %s", row.path, got.code, field, reason, arrived, row.field, row.reason)
		}
	}
	if got := s.rest(t, "member", "POST", conversations+"/"+someID+":hide?id=other", ""); got.code != http.StatusBadRequest {
		t.Errorf("query beside a body: %d %s", got.code, got.body)
	}
}

func TestRefusalsOfHTTP(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, row := range []struct {
		name, verb, path, body string
		headers                []string
		code                   int
		reason                 string
	}{
		{"unknown host", "GET", "/v1/nothing", "", []string{"Host", strangeHost}, 404, "PATH_UNKNOWN"},
		{"unknown path", "GET", "/v1/nothing", "", nil, 404, "PATH_UNKNOWN"},
		{"a method for our own processes", "POST", "/messagerie.messaging.v1.RecipientService/BatchGetRecipients", "{}", nil, 404, "PATH_UNKNOWN"},
		{"doubled slash", "GET", "//v1/conversations", "", nil, 404, "PATH_UNKNOWN"},
		{"slash at the end", "GET", "/v1/conversations/", "", nil, 404, "PATH_UNKNOWN"},
		{"path that is not UTF-8", "GET", "/v1/conversations/%ff", "", nil, 400, "PATH_MALFORMED"},
		{"encoded slash", "GET", "/v1/conversations/" + someID + "%2fdeliveries", "", nil, 404, "PATH_UNKNOWN"},
		{"encoded slash in a fixed path", "GET", "/%2Fopenapi.json", "", nil, 404, "PATH_UNKNOWN"},
		{"wrong verb", "DELETE", "/v1/conversations", "", nil, 405, "HTTP_METHOD_NOT_ALLOWED"},
		{"wrong verb of a fixed path", "POST", "/openapi.json", "{}", nil, 405, "HTTP_METHOD_NOT_ALLOWED"},
		{"verb by header", "POST", "/v1/agent/conversations", "", []string{"X-HTTP-Method-Override", "GET", "Content-Type", "application/x-www-form-urlencoded"}, 405, "HTTP_METHOD_NOT_ALLOWED"},
		{"curl's form", "POST", "/v1/conversations", "{}", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "MEDIA_TYPE_UNSUPPORTED"},
		{"no type", "POST", "/v1/conversations", "{}", []string{"Content-Type", ""}, 415, "MEDIA_TYPE_UNSUPPORTED"},
		{"nonsense for a type", "POST", "/v1/conversations", "{}", []string{"Content-Type", ";;"}, 415, "MEDIA_TYPE_UNSUPPORTED"},
		{"other character set", "POST", "/v1/conversations", "{}", []string{"Content-Type", "application/json; charset=latin1"}, 415, "MEDIA_TYPE_UNSUPPORTED"},
		{"compressed", "POST", "/v1/conversations", "{}", []string{"Content-Encoding", "gzip"}, 415, "MEDIA_TYPE_UNSUPPORTED"},
		{"too large", "POST", "/v1/conversations", `{"text":"` + strings.Repeat("x", door.MaxRequestBytes) + `"}`, nil, 413, "REQUEST_TOO_LARGE"},
	} {
		got := s.rest(t, "member", row.verb, row.path, row.body, row.headers...)
		if got.code != row.code || answer.ReasonOf(got.status(t)).String() != row.reason {
			t.Errorf("%s: %d %s, want %d %s", row.name, got.code, got.body, row.code, row.reason)
		}
		if allow := got.header.Get("Allow"); (row.code == 405) != (allow != "") {
			t.Errorf("%s: Allow %q", row.name, allow)
		}
		if n := len(s.take()); n != 0 {
			t.Errorf("%s: %d calls arrived", row.name, n)
		}
	}
	if allow := s.rest(t, "", "PUT", "/v1/conversations", "").header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("Allow is %q, want GET, HEAD, POST", allow)
	}
	// Who may not call is not told what is wrong with the body.
	if got := s.rest(t, "nobody", "POST", "/v1/conversations", "{"); got.code != http.StatusUnauthorized {
		t.Errorf("a stranger's malformed body: %d", got.code)
	}
	if got := s.rest(t, "lapsed", "GET", "/v1/conversations", ""); !strings.Contains(got.header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("a lapsed token: %q", got.header.Get("WWW-Authenticate"))
	}
	whole := `{"audience":"PARTICULIER","theme":"x","text":""}`
	whole = strings.Replace(whole, `""`, `"`+strings.Repeat("x", door.MaxRequestBytes-len(whole))+`"`, 1)
	if got := s.rest(t, "member", "POST", "/v1/conversations", whole); got.code != http.StatusOK {
		t.Errorf("%d bytes: %d %s", len(whole), got.code, got.body)
	}
}

// TestErrorsAreTheSameInBothProtocols compares code, text and details.
func TestErrorsAreTheSameInBothProtocols(t *testing.T) {
	t.Parallel()
	s := start(t)
	client := messagingpb.NewMessagingServiceClient(s.grpc)
	for _, row := range []struct {
		name string
		err  error
		code int
	}{
		{"fault of a field", rpc.Invalid("text", errorpb.ErrorReason_BODY_TOO_SHORT, "9 characters, at least 10 are needed", "limit", "10", "actual", "9"), 400},
		{"key used again", rpc.Refuse(codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, "this idempotency key was used with other content"), 409},
		{"state", rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_HELD, "held by somebody else", "agent", "Claire"), 409},
		{"stale", rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CHANGED, "read it again"), 412},
		{"not found", rpc.Refuse(codes.NotFound, errorpb.ErrorReason_CONVERSATION_NOT_FOUND, "no such conversation"), 404},
		{"store away", rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "try again"), 503},
		{"fault of ours", context.DeadlineExceeded, 504},
		{"unknown", http.ErrBodyNotAllowed, 500},
	} {
		s.submit = func(context.Context, *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
			return nil, row.err
		}
		_, err := client.SubmitMessage(s.as(t, "member"), &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x"})
		got := s.rest(t, "member", "POST", "/v1/conversations", `{"audience":"PARTICULIER","theme":"x"}`)
		if got.code != row.code {
			t.Errorf("%s: %d %s, want %d", row.name, got.code, got.body, row.code)
		}
		over, id := named(status.Convert(err))
		under, restID := named(got.status(t))
		if len(id) != 32+1+16 || restID != got.header.Get("X-Request-Id") || id == restID {
			t.Errorf("%s: request %q over gRPC, %q over REST, whose header says %q", row.name, id, restID, got.header.Get("X-Request-Id"))
		}
		if diff := cmp.Diff(over, under, protocmp.Transform()); diff != "" {
			t.Errorf("%s: gRPC and REST differ:\n%s", row.name, diff)
		}
		if after := got.header.Get("Retry-After"); (got.code == 503) != (after != "") {
			t.Errorf("%s: Retry-After %q", row.name, after)
		}
	}
}

// named is a refusal without the name of its request, and that.
func named(st *status.Status) (rest *spb.Status, id string) {
	rest = st.Proto()
	rest.Details = slices.DeleteFunc(rest.Details, func(detail *anypb.Any) bool {
		info := &errdetails.RequestInfo{}
		if detail.UnmarshalTo(info) != nil {
			return false
		}
		id = info.GetRequestId()
		return true
	})
	return rest, id
}

// People are told in the language that they read, also by the gateway itself.
func TestRefusalsInWords(t *testing.T) {
	t.Parallel()
	s := start(t)
	for lang, want := range map[string]string{"": "Cette page n’existe pas.", "en": "This page does not exist."} {
		got := s.rest(t, "nobody", "GET", "/v2", "", "Accept-Language", lang)
		if spoken := got.header.Get("Content-Language"); (spoken == "en") != (lang == "en") || spoken != "en" && spoken != "fr" {
			t.Errorf("asked for %q: Content-Language %q", lang, spoken)
		}
		said := ""
		for _, detail := range got.status(t).Details() {
			if message, ok := detail.(*errdetails.LocalizedMessage); ok {
				said = message.GetMessage()
			}
		}
		if said != want {
			t.Errorf("asked for %q: %q, want %q", lang, said, want)
		}
	}
}

// varies reports whether an answer is said to depend on a header of its request.
func varies(header http.Header, name string) bool {
	return slices.Contains(strings.Split(strings.Join(header.Values("Vary"), ", "), ", "), name)
}

// An answer says on what headers it depends, and on no others (RFC 9110, 12.5.5).
func TestVary(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{nil, {"http://localhost:*"}} {
		s := start(t, func(cfg *Config) { cfg.CORSOrigins = origins })
		for _, row := range []struct {
			path, accept string
			want         []string
		}{
			{"/v1/conversations", "", nil},
			{"/openapi.json", "", nil},
			{"/v1/nothing", "", []string{"Accept-Language"}},
			{watchPath, "", []string{"Accept"}},
			{watchPath, stream.NDJSON, []string{"Accept"}},
			{watchPath, "image/png", []string{"Accept", "Accept-Language"}},
			{"/v1/me/export", "", []string{"Accept"}},
		} {
			got := s.rest(t, "member", "GET", row.path, "", "Accept", row.accept)
			for _, name := range []string{"Accept-Encoding", "Origin", "Accept", "Accept-Language"} {
				want := name == "Accept-Encoding" || name == "Origin" && origins != nil || slices.Contains(row.want, name)
				if varies(got.header, name) != want {
					t.Errorf("%s as %q: Vary %q, want %s: %t", row.path, row.accept, got.header.Values("Vary"), name, want)
				}
			}
		}
	}
}

// faultsOf are those that a refusal tells, each as "field REASON".
func faultsOf(st *status.Status) (list []string) {
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				list = append(list, v.GetField()+" "+v.GetReason())
			}
		}
	}
	return list
}

// All that is wrong with a request is told at once, whoever finds it: the gateway what
// cannot be read, the service what is wrong with the rest. What could not be read has no
// further faults.
func TestFaults_OfAllStages(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, row := range map[string]struct {
		caller, verb, path, body, key string
		want                          []string
	}{
		"a body": {
			"member", "POST", "/v1/conversations", `{"audience":"X","theme":1,"nothing":true,"text":"a","text":"b"}`, "mine",
			[]string{"audience VALUE_UNKNOWN", "theme VALUE_INVALID", "nothing FIELD_UNKNOWN", "text FIELD_DUPLICATE", "idempotency-key IDEMPOTENCY_KEY_INVALID"},
		},
		"query, body, key and rules": {
			"member", "POST", "/v1/conversations?debug=1", `{"audience":1,"sujet":"x","topic":"a\u0000"}`, "",
			[]string{"debug PARAMETER_UNKNOWN", "audience VALUE_UNKNOWN", "sujet FIELD_UNKNOWN", "idempotency-key IDEMPOTENCY_KEY_REQUIRED", "topic CONTROL_CHARACTERS", "theme REQUIRED"},
		},
		"query, path and rules": {
			"member", "POST", "/v1/conversations/zz:hide?debug=1", "",
			someKey,
			[]string{"debug PARAMETER_UNKNOWN", "id UUID_INVALID"},
		},
		"a body that cannot be read at all": {
			"member", "POST", "/v1/conversations?debug=1", "{", "",
			[]string{"debug PARAMETER_UNKNOWN", "body JSON_MALFORMED", "idempotency-key IDEMPOTENCY_KEY_REQUIRED"},
		},
		"inside a member": {
			"member", "PATCH", "/v1/me/preferences", `{"preferences":{"email":1,"fax":"x","locale":"de"}}`, someKey,
			[]string{"preferences.email VALUE_INVALID", "preferences.fax FIELD_UNKNOWN", "preferences.locale VALUE_UNKNOWN"},
		},
		"a member that is no object": {
			"member", "PATCH", "/v1/me/preferences?debug=1", `{"preferences":"none"}`, someKey,
			[]string{"debug PARAMETER_UNKNOWN", "preferences VALUE_INVALID"},
		},
		"a query": {
			"member", "GET", "/v1/taxonomy?debug=1&audience=1", "", someKey,
			[]string{"audience VALUE_UNKNOWN", "debug PARAMETER_UNKNOWN"},
		},
		"an unknown parameter beside what is missing": {
			"member", "GET", "/v1/suggestion?debug=1", "", someKey,
			[]string{"debug PARAMETER_UNKNOWN", "audience REQUIRED", "theme REQUIRED"},
		},
		"a query that cannot be read at all": {
			"member", "GET", "/v1/suggestion?%zz", "", someKey,
			[]string{"query QUERY_MALFORMED"},
		},
		"a stream's": {"member", "GET", "/v1/conversations:watch?debug=1", "", someKey, []string{"debug PARAMETER_UNKNOWN"}},
	} {
		got := s.rest(t, row.caller, row.verb, row.path, row.body, "Idempotency-Key", row.key)
		if found := faultsOf(got.status(t)); got.code != http.StatusBadRequest || !slices.Equal(found, row.want) {
			t.Errorf("%s: %d %v, want %v", name, got.code, found, row.want)
		}
		if n := handled(s.take()); n != 0 {
			t.Errorf("%s: %d calls arrived to be done", name, n)
		}
	}
}

// A service that does not answer, or is of a version that does not know of requests in part,
// leaves what the gateway knows.
func TestFaults_WithoutTheService(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, fault := range map[string]*rpc.Error{
		"away":    rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_STORE_UNAVAILABLE, "try again"),
		"earlier": rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_REQUEST_MALFORMED, "the request cannot be decoded"),
	} {
		s.fail.Store(fault)
		got := s.rest(t, "member", "POST", "/v1/conversations", `{"audience":1}`, "Idempotency-Key", "")
		want := []string{"audience VALUE_UNKNOWN", "idempotency-key IDEMPOTENCY_KEY_REQUIRED"}
		if found := faultsOf(got.status(t)); got.code != http.StatusBadRequest || !slices.Equal(found, want) {
			t.Errorf("%s: %d %v, want %v", name, got.code, found, want)
		}
	}
}

func TestAnswersShowWhatIsEmpty(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.submit = func(context.Context, *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
		return &messagingpb.SubmitMessageResponse{Conversation: &messagingpb.Conversation{Id: someID, Status: messagingpb.Status_SENT}}, nil
	}
	var list map[string]any
	if err := json.Unmarshal([]byte(s.rest(t, "member", "GET", "/v1/conversations", "").body), &list); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"conversations": []any{}, "nextPageToken": "", "previousPageToken": "", "unreadCount": 0.0}, list); diff != "" {
		t.Error(diff)
	}
	var sent struct{ Conversation map[string]any }
	got := s.rest(t, "member", "POST", "/v1/conversations", `{"audience":"PARTICULIER","theme":"x"}`)
	if err := json.Unmarshal([]byte(got.body), &sent); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"hidden": false, "unread": false, "status": "SENT", "id": someID} {
		if sent.Conversation[name] != want {
			t.Errorf("%s is %v, want %v", name, sent.Conversation[name], want)
		}
	}
	if _, shown := sent.Conversation["claim"]; shown {
		t.Errorf("an absent message is shown: %s", got.body)
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	s := start(t)
	const path = "/v1/taxonomy?audience=PARTICULIER"
	whole := s.rest(t, "nobody", "GET", path, "")
	if whole.code != 200 || whole.header.Get("ETag") != `"v1-particulier"` || whole.header.Get("Cache-Control") != "public, max-age=60" {
		t.Fatalf("%d %v", whole.code, whole.header)
	}
	if got := whole.header.Get("X-Internal"); got != "" {
		t.Errorf("X-Internal %q passed", got)
	}
	for wanted, code := range map[string]int{
		`"v1-particulier"`: 304, `W/"v1-particulier"`: 304, `"x", "v1-particulier"`: 304, "*": 304,
		`"v0-particulier"`: 200, "v1-particulier": 200, "": 200,
	} {
		got := s.rest(t, "nobody", "GET", path, "", "If-None-Match", wanted)
		if got.code != code || (code == 304) != (got.body == "") || got.header.Get("ETag") == "" {
			t.Errorf("If-None-Match %s: %d with %d bytes, want %d", wanted, got.code, len(got.body), code)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/v1/conversations", "/v1/taxonomy?audience=PARTICULIER", "/nothing", "/openapi.json", "/livez", "/readyz"} {
		got := s.rest(t, "member", "GET", path, "")
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
			}
		}
		if caching := got.header.Values("Cache-Control"); len(caching) != 1 {
			t.Errorf("%s: Cache-Control %v", path, caching)
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: open to other origins", path)
		}
	}
	if got := s.rest(t, "member", "GET", "/v1/conversations", "").header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("a member's data: Cache-Control %q", got)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const origin = "https://front.example.org"
	s := start(t, func(cfg *Config) { cfg.CORSOrigins = []string{origin, "http://localhost:*"} })
	ask := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "idempotency-key"}
	for _, origin := range []string{origin, "http://localhost:5173"} {
		preflight := s.rest(t, "nobody", "OPTIONS", "/v1/conversations", "", append(ask, "Origin", origin)...)
		if preflight.code != 204 || preflight.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("preflight: %d %v", preflight.code, preflight.header)
		}
		for _, name := range []string{"Idempotency-Key", "If-Match", "Last-Event-ID", "X-Requested-With", "Cache-Control", "Baggage"} {
			if allowed := preflight.header.Get("Access-Control-Allow-Headers"); !strings.Contains(allowed, name) {
				t.Errorf("%s may not be sent: %s", name, allowed)
			}
		}
		got := s.rest(t, "member", "GET", "/v1/conversations", "", "Origin", origin)
		if got.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate, X-Request-Id") {
			t.Errorf("call: %v", got.header)
		}
	}
	// A page can read why it is refused.
	few := start(t, func(cfg *Config) {
		cfg.CORSOrigins, cfg.RatePerAddress, cfg.BurstPerAddress = []string{origin}, 0.001, 1
	})
	for _, code := range []int{200, 429} {
		got := few.rest(t, "nobody", "GET", "/v1/taxonomy?audience=PARTICULIER", "", "Origin", origin)
		if got.code != code || got.header.Get("Access-Control-Allow-Origin") != origin || !varies(got.header, "Origin") {
			t.Errorf("%d %v, want %d", got.code, got.header, code)
		}
	}
	if got := few.rest(t, "nobody", "OPTIONS", "/v1/conversations", "", append(ask, "Origin", origin)...); got.code != 429 {
		t.Errorf("one preflight too many: %d", got.code)
	}
	for _, other := range []string{"https://front.example.org.evil.test", "http://front.example.org", "http://localhost:5173.evil.test", "null", ""} {
		if got := s.rest(t, "member", "OPTIONS", "/v1/conversations", "", append(ask, "Origin", other)...); got.code != 405 || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("origin %q: %d %v", other, got.code, got.header)
		}
	}
}
