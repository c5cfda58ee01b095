package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

// What clients write that are careful, careless or hostile, to the byte.

// raw sends a request as it is written, and reads the first answer. {token} stands for a
// member's.
func (s *stack) raw(t *testing.T, lines ...string) reply {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.Join(lines, "\r\n"), "{token}", s.tokens["member"])
	go func() { _, _ = io.WriteString(conn, text) }() // an answer may come before its end
	verb, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: verb})
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !resp.Close {
		t.Fatalf("%.80q: %v", text, err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

const bearer = "Authorization: Bearer {token}"

// What is no request of HTTP reaches no handler: net/http refuses it by itself, in plain
// text. The OpenAPI document says so; this is the list.
func TestSurface_NoHTTP(t *testing.T) {
	t.Parallel()
	s := start(t)
	for what, row := range map[string]struct {
		code  int
		lines []string
	}{
		"a path that is not encoded":  {400, []string{"GET /v1/%zz HTTP/1.1", "Host: a"}},
		"no path":                     {400, []string{"GET v1/conversations HTTP/1.1", "Host: a"}},
		"no host":                     {400, []string{"GET /v1/conversations HTTP/1.1"}},
		"two hosts":                   {400, []string{"GET /v1/conversations HTTP/1.1", "Host: a", "Host: b"}},
		"a name with a space":         {400, []string{"GET /v1/conversations HTTP/1.1", "Host: a", "a b: c"}},
		"two lengths":                 {400, []string{"POST /v1/conversations HTTP/1.1", "Host: a", "Content-Length: 2", "Content-Length: 3"}},
		"what is not to be expected":  {417, []string{"POST /v1/conversations HTTP/1.1", "Host: a", "Content-Length: 2", "Expect: magic"}},
		"a head that is too large":    {431, []string{"GET /v1/conversations HTTP/1.1", "Host: a", "X: " + strings.Repeat("a", 2*maxHeaderBytes)}},
		"an unknown transfer coding":  {501, []string{"POST /v1/conversations HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"}},
		"another version of protocol": {505, []string{"GET /v1/conversations HTTP/3.0", "Host: a"}},
	} {
		got := s.raw(t, append(row.lines, "", "")...)
		if got.code != row.code || strings.HasPrefix(got.header.Get("Content-Type"), answer.PlainJSON) {
			t.Errorf("%s: %d %v, want %d", what, got.code, got.header, row.code)
		}
	}
	if n := len(s.take()); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestSurface_Refused(t *testing.T) {
	t.Parallel()
	s := start(t)
	const submit, body = "POST /v1/conversations HTTP/1.1", `{"audience":"PARTICULIER","theme":"x"}`
	length := fmt.Sprintf("Content-Length: %d", len(body))
	const asJSON, list, draft = "Content-Type: application/json", "GET /v1/conversations HTTP/1.1", "DELETE /v1/drafts/" + someID + " HTTP/1.1"
	for what, row := range map[string]struct {
		code   int
		reason string
		lines  []string
	}{
		"two tokens":                        {400, "CREDENTIALS_AMBIGUOUS", []string{list, bearer, bearer, "", ""}},
		"two tokens where none is needed":   {400, "CREDENTIALS_AMBIGUOUS", []string{"GET /v1/taxonomy?audience=PARTICULIER HTTP/1.1", bearer, "Authorization: Bearer x", "", ""}},
		"two types":                         {415, "MEDIA_TYPE_UNSUPPORTED", []string{submit, bearer, asJSON, "Content-Type: text/plain", length, "", body}},
		"two codings":                       {415, "MEDIA_TYPE_UNSUPPORTED", []string{submit, bearer, asJSON, "Content-Encoding: identity", "Content-Encoding: gzip", length, "", body}},
		"a body to GET":                     {400, "BODY_UNEXPECTED", []string{list, bearer, asJSON, length, "", body}},
		"a body in pieces to GET":           {400, "BODY_UNEXPECTED", []string{list, bearer, "Transfer-Encoding: chunked", "", "2", "{}", "0", "", ""}},
		"pieces that are none to GET":       {400, "BODY_UNREADABLE", []string{list, bearer, "Transfer-Encoding: chunked", "", "zz", ""}},
		"a body to DELETE":                  {400, "BODY_UNEXPECTED", []string{draft, bearer, asJSON, length, "", body}},
		"a body to a watch":                 {400, "BODY_UNEXPECTED", []string{"GET " + watchPath + " HTTP/1.1", bearer, "Transfer-Encoding: chunked", "", "2", "{}", "0", "", ""}},
		"pieces that are none":              {400, "BODY_UNREADABLE", []string{submit, bearer, asJSON, "Transfer-Encoding: chunked", "", "zz", ""}},
		"a length that is too much":         {413, "REQUEST_TOO_LARGE", []string{submit, bearer, asJSON, "Content-Length: 99999999", "", ""}},
		"that, before it is sent":           {413, "REQUEST_TOO_LARGE", []string{submit, bearer, asJSON, "Content-Length: 99999999", "Expect: 100-continue", "", ""}},
		"dots":                              {404, "PATH_UNKNOWN", []string{"GET /v1/../openapi.json HTTP/1.1", bearer, "", ""}},
		"encoded dots":                      {404, "PATH_UNKNOWN", []string{"GET /v1/%2e%2e/openapi.json HTTP/1.1", bearer, "", ""}},
		"another case":                      {404, "PATH_UNKNOWN", []string{"GET /V1/Conversations HTTP/1.1", bearer, "", ""}},
		"a method in lower case":            {405, "HTTP_METHOD_NOT_ALLOWED", []string{"get /v1/conversations HTTP/1.1", bearer, "", ""}},
		"TRACE":                             {405, "HTTP_METHOD_NOT_ALLOWED", []string{"TRACE /v1/conversations HTTP/1.1", bearer, "", ""}},
		"OPTIONS of no page":                {405, "HTTP_METHOD_NOT_ALLOWED", []string{"OPTIONS /openapi.json HTTP/1.1", "", ""}},
		"CONNECT":                           {400, "PATH_MALFORMED", []string{"CONNECT example.org:443 HTTP/1.1", "", ""}},
		"a token in the query":              {401, "TOKEN_REQUIRED", []string{"GET /v1/conversations?access_token={token} HTTP/1.1", "", ""}},
		"another scheme of signing in":      {401, "TOKEN_REQUIRED", []string{list, "Authorization: Basic eDp5", "", ""}},
		"no format at all":                  {406, "NOT_ACCEPTABLE", []string{"GET /v1/me/export HTTP/1.1", bearer, "Accept: */*;q=0", "", ""}},
		"a type that is only nearly JSON's": {415, "MEDIA_TYPE_UNSUPPORTED", []string{submit, bearer, "Content-Type: application/merge-patch+json", length, "", body}},
	} {
		got := s.raw(t, append([]string{row.lines[0], "Host: a"}, row.lines[1:]...)...)
		if got.code != row.code || answer.ReasonOf(got.status(t)).String() != row.reason && !strings.Contains(got.body, `"`+row.reason+`"`) {
			t.Errorf("%s: %d %s, want %d %s", what, got.code, got.body, row.code, row.reason)
		}
		if allow := got.header.Get("Allow"); (allow != "") != (row.code == 405) {
			t.Errorf("%s: Allow %q", what, allow)
		}
		if accept := got.header.Get("Accept") + got.header.Get("Accept-Encoding"); (accept == "application/jsonidentity") != (row.code == 415) {
			t.Errorf("%s: Accept, Accept-Encoding %q", what, accept)
		}
		if n := len(s.take()); n != 0 {
			t.Errorf("%s: %d calls arrived", what, n)
		}
	}
}

func TestSurface_Answered(t *testing.T) {
	t.Parallel()
	s := start(t)
	const submit, body = "POST /v1/conversations HTTP/1.1", `{"audience":"PARTICULIER","theme":"x"}`
	const asJSON, list = "Content-Type: application/json", "GET /v1/conversations HTTP/1.1"
	for what, row := range map[string]struct {
		code  int
		lines []string
	}{
		"a body in pieces":                 {200, []string{submit, bearer, "Idempotency-Key: " + someKey, asJSON, "Transfer-Encoding: chunked", "", fmt.Sprintf("%x", len(body)), body, "0", "", ""}},
		"a body that waits":                {100, []string{submit, bearer, "Idempotency-Key: " + someKey, asJSON, fmt.Sprintf("Content-Length: %d", len(body)), "Expect: 100-continue", "", ""}},
		"a character set in two spellings": {200, []string{submit, bearer, "Idempotency-Key: " + someKey, asJSON + "; charset=UTF-8", fmt.Sprintf("Content-Length: %d", len(body)), "", body}},
		"no body, in no pieces, to GET":    {200, []string{list, bearer, "Transfer-Encoding: chunked", "", "0", "", ""}},
		"an old protocol":                  {200, []string{"GET /v1/conversations HTTP/1.0", bearer, "", ""}},
		"a scheme in lower case":           {200, []string{list, "authorization: bearer {token}", "", ""}},
		"a part of it":                     {200, []string{list, bearer, "Range: bytes=0-1", "", ""}},
		"another protocol":                 {200, []string{list, bearer, "Connection: Upgrade", "Upgrade: websocket", "", ""}},
		"what there is, whatever it likes": {200, []string{list, bearer, "Accept: image/png", "", ""}},
		"the worse of two formats":         {200, []string{"GET /v1/me/export HTTP/1.1", bearer, "Accept: application/json;q=0, */*;q=0.1", "", ""}},
		"no coding":                        {200, []string{list, bearer, "Accept-Encoding: identity;q=0", "", ""}},
	} {
		got := s.raw(t, append([]string{row.lines[0], "Host: a"}, row.lines[1:]...)...)
		if got.code != row.code {
			t.Errorf("%s: %d %s, want %d", what, got.code, got.body, row.code)
		}
	}
}
