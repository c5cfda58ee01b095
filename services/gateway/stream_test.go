package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/stream"
)

const watchPath, exportPath = "/v1/conversations:watch", "/v1/me/export"

// following is an answer that streams.
type following struct {
	*http.Response
	text *bufio.Reader
}

// follow opens a stream by REST; pairs are headers.
func (s *stack) follow(t *testing.T, caller, path string, pairs ...string) *following {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens[caller])
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &following{resp, bufio.NewReader(resp.Body)}
}

// event is one server-sent event, or what else ends in an empty line.
type event struct{ id, kind, data, retry, comment string }

// event reads up to the next event.
func (f *following) event(t *testing.T) event {
	t.Helper()
	for {
		got, err := f.block()
		if err != nil {
			t.Fatal(err)
		}
		if got.data != "" {
			return got
		}
	}
}

// block reads to the next empty line.
func (f *following) block() (got event, err error) {
	for {
		line, err := f.text.ReadString('\n')
		if line == "\n" || err != nil {
			return got, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		field := map[string]*string{"id": &got.id, "event": &got.kind, "data": &got.data, "retry": &got.retry, "": &got.comment}[name]
		if field == nil || *field != "" {
			return got, errors.New("an odd line: " + line)
		}
		*field = value
	}
}

// hints answers a watch with its first hint and two more, and then with err.
func hints(err error) func(context.Context, func(*messagingpb.WatchConversationsResponse) error) error {
	return func(_ context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		for i, id := range []string{"", someID, someID} {
			if err := send(&messagingpb.WatchConversationsResponse{ConversationId: id, UnreadCount: int32(i)}); err != nil {
				return err
			}
		}
		return err
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.watch = hints(nil)
	for name, row := range map[string]struct {
		headers []string
		first   uint64
	}{
		"an EventSource":      {[]string{"Accept", "text/event-stream"}, 1},
		"curl":                {[]string{"Accept", "*/*"}, 1},
		"no Accept":           {nil, 1},
		"after a cut":         {[]string{"Last-Event-ID", "41"}, 42},
		"after the largest":   {[]string{"Last-Event-ID", "9007199254740992"}, 1<<53 + 1},
		"after a larger one":  {[]string{"Last-Event-ID", "18446744073709551615"}, 1},
		"after another's id":  {[]string{"Last-Event-ID", "0199f0b2-0000"}, 1},
		"after a negative id": {[]string{"Last-Event-ID", "-1"}, 1},
	} {
		watch := s.follow(t, "member", watchPath, row.headers...)
		h := watch.Header
		if watch.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || h.Get("Cache-Control") != "no-store, no-transform" {
			t.Errorf("%s: %s %v", name, watch.Status, h)
		}
		head, err := watch.block()
		if retry, fault := strconv.Atoi(head.retry); err != nil || head.comment == "" || fault != nil || retry < 1000 || retry >= 3000 {
			t.Errorf("%s: begins with %+v, %v", name, head, err)
		}
		// The first says to look for oneself, whatever was before.
		for i, id := range []string{"", someID, someID} {
			got := watch.event(t)
			var hint messagingpb.WatchConversationsResponse
			if err := protojson.Unmarshal([]byte(got.data), &hint); err != nil || hint.GetConversationId() != id || int(hint.GetUnreadCount()) != i {
				t.Errorf("%s: event %d is %+v, %v", name, i, got, err)
			}
			if want := row.first + uint64(i); got.id != strconv.FormatUint(want, 10) || got.kind != "" || got.retry != "" {
				t.Errorf("%s: event %d is %+v, want the id %d", name, i, got, want)
			}
		}
		if got, err := watch.block(); got != (event{}) || !errors.Is(err, io.EOF) {
			t.Errorf("%s: ends with %+v, %v", name, got, err)
		}
	}
	got := s.rest(t, "member", "GET", watchPath, "", "Accept", stream.NDJSON)
	if got.code != 200 || got.header.Get("Content-Type") != stream.NDJSON || got.header.Get("X-Accel-Buffering") != "no" || strings.Count(got.body, "\n") != 3 {
		t.Errorf("as lines: %d %v %q", got.code, got.header, got.body)
	}
	var n int32
	for line := range strings.Lines(got.body) {
		var hint messagingpb.WatchConversationsResponse
		if err := protojson.Unmarshal([]byte(line), &hint); err != nil || hint.GetUnreadCount() != n {
			t.Errorf("line %d is %q, %v", n, line, err)
		}
		n++
	}
	for path, mediaType := range map[string]string{watchPath: stream.EventStream, exportPath: answer.PlainJSON} {
		if got := s.rest(t, "member", "HEAD", path, ""); got.code != 200 || got.header.Get("Content-Type") != mediaType || (got.header.Get("X-Accel-Buffering") == "no") != (path == watchPath) {
			t.Errorf("HEAD of %s: %d %v", path, got.code, got.header)
		}
		if got := s.rest(t, "member", "HEAD", path, "", "Accept", "text/html"); got.code != 406 {
			t.Errorf("HEAD of %s as a page: %d", path, got.code)
		}
		if got := s.rest(t, "member", "GET", path, "", "Accept", "text/html"); got.code != 406 || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_NOT_ACCEPTABLE {
			t.Errorf("%s as a page: %d %s", path, got.code, got.body)
		}
		if got := s.rest(t, "nobody", "GET", path, "", "Accept", "text/html"); got.code != 401 {
			t.Errorf("%s as a page, by nobody: %d %s", path, got.code, got.body)
		}
	}
}

// A watch that is refused has a status; one that breaks off says why, and ends.
func TestWatch_ThatFails(t *testing.T) {
	t.Parallel()
	s := start(t)
	full := rpc.Refuse(codes.ResourceExhausted, errorpb.ErrorReason_WATCHES_TOO_MANY, "too many")
	s.watch = func(context.Context, func(*messagingpb.WatchConversationsResponse) error) error { return full }
	if got := s.rest(t, "member", "GET", watchPath, ""); got.code != 429 || answer.ReasonOf(got.status(t)) != full.Reason || got.header.Get("Content-Type") != answer.PlainJSON || got.header.Get("Retry-After") == "" {
		t.Errorf("refused: %d %v %s", got.code, got.header, got.body)
	}
	s.watch = hints(status.Error(codes.Unavailable, "connection to 10.0.0.7 refused"))
	watch := s.follow(t, "member", watchPath)
	for range 3 {
		watch.event(t)
	}
	last := watch.event(t)
	if got := (reply{body: last.data}).status(t); last.kind != "error" || last.id != "" || answer.ReasonOf(got) != errorpb.ErrorReason_SERVICE_UNAVAILABLE || strings.Contains(last.data, "10.0.0.7") {
		t.Errorf("the last event is %+v", last)
	}
	if got, err := watch.block(); got != (event{}) || !errors.Is(err, io.EOF) {
		t.Errorf("ends with %+v, %v", got, err)
	}
	got := s.rest(t, "member", "GET", watchPath, "", "Accept", stream.NDJSON)
	lines := strings.Split(strings.TrimSuffix(got.body, "\n"), "\n")
	var broken struct{ Error json.RawMessage }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &broken); err != nil || len(lines) != 4 {
		t.Fatalf("lines %q, %v", lines, err)
	}
	if st := (reply{body: string(broken.Error)}).status(t); answer.ReasonOf(st) != errorpb.ErrorReason_SERVICE_UNAVAILABLE {
		t.Errorf("the last line is %v", st)
	}
}

// export is the document as a caller reads it.
type export struct {
	Preferences   json.RawMessage
	Drafts        []struct{ ID, Text string }
	Conversations []struct{ ID string }
}

// pieces answers an export, and then with err.
func pieces(err error, list ...*messagingpb.ExportMyDataResponse) func(func(*messagingpb.ExportMyDataResponse) error) error {
	return func(send func(*messagingpb.ExportMyDataResponse) error) error {
		for _, piece := range list {
			if err := send(piece); err != nil {
				return err
			}
		}
		return err
	}
}

func exportedPreferences() *messagingpb.ExportMyDataResponse {
	return &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Preferences{Preferences: &messagingpb.Preferences{Locale: "fr"}}}
}

func exportedDraft(text string) *messagingpb.ExportMyDataResponse {
	return &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Draft{Draft: &messagingpb.Draft{Id: someID, Text: text}}}
}

func exportedConversation() *messagingpb.ExportMyDataResponse {
	return &messagingpb.ExportMyDataResponse{Piece: &messagingpb.ExportMyDataResponse_Conversation{Conversation: &messagingpb.Conversation{Id: someID}}}
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, row := range map[string]struct {
		pieces                []*messagingpb.ExportMyDataResponse
		preferences           string
		drafts, conversations int
	}{
		"all":              {[]*messagingpb.ExportMyDataResponse{exportedPreferences(), exportedDraft("a"), exportedDraft("b"), exportedConversation(), exportedConversation()}, "fr", 2, 2},
		"no drafts":        {[]*messagingpb.ExportMyDataResponse{exportedPreferences(), exportedConversation()}, "fr", 0, 1},
		"no conversations": {[]*messagingpb.ExportMyDataResponse{exportedPreferences(), exportedDraft("\"]}\n\u2028")}, "fr", 1, 0},
		"nothing":          {nil, "", 0, 0},
		"of a newer kind":  {[]*messagingpb.ExportMyDataResponse{exportedPreferences(), {}, exportedDraft("a")}, "fr", 1, 0},
	} {
		s.export = pieces(nil, row.pieces...)
		got := s.rest(t, "member", "GET", exportPath, "")
		var whole export
		if err := json.Unmarshal([]byte(got.body), &whole); err != nil || got.code != 200 || got.header.Get("Content-Type") != answer.PlainJSON || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %q, %v", name, got.code, got.header, got.body, err)
			continue
		}
		if !strings.Contains(string(whole.Preferences), row.preferences) || whole.Drafts == nil || len(whole.Drafts) != row.drafts || whole.Conversations == nil || len(whole.Conversations) != row.conversations {
			t.Errorf("%s: %s", name, got.body)
		}
		lines := s.rest(t, "member", "GET", exportPath, "", "Accept", stream.NDJSON)
		if n := strings.Count(lines.body, "\n"); n != len(row.pieces) || lines.header.Get("Content-Type") != stream.NDJSON {
			t.Errorf("%s, as lines: %v %q", name, lines.header, lines.body)
		}
		for line := range strings.Lines(lines.body) {
			if err := protojson.Unmarshal([]byte(line), &messagingpb.ExportMyDataResponse{}); err != nil {
				t.Errorf("%s, line %q: %v", name, line, err)
			}
		}
	}
}

// An export that breaks off does not look whole, in whatever way it comes.
func TestExport_ThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := start(t)
	slow := rpc.Refuse(codes.DeadlineExceeded, errorpb.ErrorReason_EXPORT_NOT_READ, "too slow")
	s.export = pieces(slow)
	if got := s.rest(t, "member", "GET", exportPath, ""); got.code != 504 || answer.ReasonOf(got.status(t)) != slow.Reason {
		t.Errorf("before it has begun: %d %s", got.code, got.body)
	}
	for name, fails := range map[string]func(func(*messagingpb.ExportMyDataResponse) error) error{
		"a refusal":      pieces(slow, exportedPreferences(), exportedDraft("a"), exportedConversation()),
		"out of order":   pieces(nil, exportedPreferences(), exportedConversation(), exportedDraft("a")),
		"two of a thing": pieces(nil, exportedPreferences(), exportedPreferences()),
	} {
		s.export = fails
		whole := s.follow(t, "member", exportPath)
		if text, err := io.ReadAll(whole.text); !errors.Is(err, io.ErrUnexpectedEOF) || json.Valid(text) || len(text) == 0 {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	s.export = pieces(slow, exportedPreferences(), exportedDraft("a"))
	lines := s.follow(t, "member", exportPath, "Accept", stream.NDJSON)
	text, err := io.ReadAll(lines.text)
	if !errors.Is(err, io.ErrUnexpectedEOF) || strings.Count(string(text), "\n") != 3 || !strings.Contains(string(text), "\n{\"error\":{") || !strings.Contains(string(text), slow.Reason.String()) {
		t.Errorf("as lines: %q, %v", text, err)
	}
	// HTTP/1.0, as nginx speaks to servers, has no other end than that of the connection.
	conn := dialTCP(t, s.url)
	write(t, conn, "GET "+exportPath+" HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer "+s.tokens["member"]+"\r\n\r\n")
	text, _ = io.ReadAll(conn)
	if _, body, ok := strings.Cut(string(text), "\r\n\r\n"); !ok || json.Valid([]byte(body)) || !strings.HasPrefix(body, "{") {
		t.Errorf("by HTTP/1.0: %q", text)
	}
	if at := strings.Count(logs.String(), `"at":"HTTP","type":"*errors.errorString"`); at != 0 {
		t.Errorf("what is broken off on purpose is logged as a panic, %d times", at)
	}
}

func TestDocumentsHaveAPlaceForAll(t *testing.T) {
	t.Parallel()
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for method, rt := range routes {
		if stream.Parts(method) == nil {
			continue
		}
		if !rt.Streams || rt.Endless {
			t.Errorf("%s has a document and no end", method)
		}
	}
	watch := *routes[messagingpb.MessagingService_WatchConversations_FullMethodName]
	watch.Method = messagingpb.MessagingService_ExportMyData_FullMethodName
	if err := stream.CheckDocument(&watch); err == nil {
		t.Error("an answer without a place is no fault")
	}
}
