package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// What all stacks of this test process log and trace.
var (
	logged logBuffer
	spans  = tracetest.NewInMemoryExporter()
)

func TestMain(m *testing.M) {
	// As a process's own, but for where the spans go.
	if _, err := chassis.StartTelemetry(context.Background(), "stack", slog.LevelDebug, &logged); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	os.Exit(m.Run())
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const free = "127.0.0.1:0"

// stateDir is a folder that user postgres can get through, unlike t.TempDir.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-stack-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, dir string) *stack.Stack {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Config{StateDir: dir, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// as is a persona at the gateway.
func as(t *testing.T, s *stack.Stack, persona string) journey.Client {
	t.Helper()
	c := journey.Client{Base: s.Places().Gateway}
	if persona != "" {
		token, err := s.Token(persona)
		if err != nil {
			t.Fatal(err)
		}
		c.Token = token
	}
	return c
}

func do(t *testing.T, c journey.Client, method, path string, body any, header ...string) journey.Answer {
	t.Helper()
	answer, err := c.Do(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

var selection = journey.Selection{Audience: "PARTICULIER", Theme: "famille-logement", Topic: "allocations-familiales", Reason: "paiement-absent"}

// current is the version of the taxonomy that the product comes with.
const current = 3

func submission(text string) journey.Submission {
	return journey.Submission{Selection: selection, TaxonomyVersion: current, Text: text}
}

type recap struct {
	Conversation  journey.Conversation
	ExpectedDelay struct{ WorkingDays int }
}

// send submits a message that must be taken.
func send(t *testing.T, c journey.Client, text string) journey.Conversation {
	t.Helper()
	answer := do(t, c, http.MethodPost, "/v1/conversations", submission(text), "Idempotency-Key", uuid.NewString())
	return read[recap](t, answer).Conversation
}

func read[T any](t *testing.T, answer journey.Answer) T {
	t.Helper()
	var into T
	if answer.Status != http.StatusOK {
		t.Fatalf("answered %d: %s", answer.Status, answer.Body)
	}
	if err := json.Unmarshal(answer.Body, &into); err != nil {
		t.Fatal(err)
	}
	return into
}

// awaitMail returns what was sent about a reference once it is as many mails and
// SMS as wanted, and fails when there are more.
func awaitMail(t *testing.T, box *inbox.Inbox, reference string, mails, texts int) []inbox.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for {
		changed := box.Changed()
		var about []inbox.Message
		got := map[string]int{}
		for _, m := range box.Messages() {
			if strings.Contains(m.Subject+m.Text, reference) {
				about = append(about, m)
				got[m.Channel]++
			}
		}
		switch {
		case got[inbox.Email] > mails || got[inbox.SMS] > texts:
			t.Fatalf("%s: %v were sent, want %d mails and %d SMS", reference, got, mails, texts)
		case got[inbox.Email] == mails && got[inbox.SMS] == texts:
			return about
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: %v were sent, want %d mails and %d SMS", reference, got, mails, texts)
		}
	}
}

func TestGuide(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	var out bytes.Buffer
	if err := journey.Run(t.Context(), s.Places(), &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestSubmit_OnceWhateverTheClicks(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne := as(t, s, "jeanne")
	key := uuid.NewString()
	text := "Bonjour, je n'ai pas reçu mon paiement."
	post := func(text string) journey.Answer {
		return do(t, jeanne, http.MethodPost, "/v1/conversations", submission(text), "Idempotency-Key", key)
	}
	first := post(text)
	got := read[recap](t, first)
	if got.Conversation.Status != "SENT" || got.Conversation.Reason.Label != "Je n’ai pas reçu mon paiement" || got.ExpectedDelay.WorkingDays == 0 {
		t.Errorf("got %s", first.Body)
	}
	for range 3 {
		// protojson varies its white space on purpose, so compare what it says.
		again := post(text)
		if again.Status != http.StatusOK || compact(t, again.Body) != compact(t, first.Body) {
			t.Errorf("the same again: %d %s", again.Status, again.Body)
		}
		if first.Header.Get("Idempotent-Replayed") != "" || again.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("replayed: %q at first, then %q", first.Header.Get("Idempotent-Replayed"), again.Header.Get("Idempotent-Replayed"))
		}
	}
	if other := post(text + " Merci."); other.Status != http.StatusConflict || other.Problem().Reason() != "IDEMPOTENCY_KEY_REUSED" {
		t.Errorf("the same key with another text: %d %s", other.Status, other.Body)
	}
	awaitMail(t, s.Mailbox, got.Conversation.Reference, 1, 1)
	// A later message overtakes nothing: once it has been announced, what the
	// repeated calls could have caused would have been sent.
	next := send(t, jeanne, "Bonjour, une seconde question.")
	awaitMail(t, s.Mailbox, next.Reference, 1, 1)
	awaitMail(t, s.Mailbox, got.Conversation.Reference, 1, 1)
	list := read[struct{ Conversations []journey.Conversation }](t, do(t, jeanne, http.MethodGet, "/v1/conversations", nil))
	if len(list.Conversations) != 2 {
		t.Errorf("%d conversations", len(list.Conversations))
	}
}

func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Each call that must be refused gets its precise error and changes nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne, paul := as(t, s, "jeanne"), as(t, s, "paul")
	mine := send(t, jeanne, "Bonjour, une question sur mon dossier.")
	awaitMail(t, s.Mailbox, mine.Reference, 1, 1)
	good := "Bonjour, une question."
	with := func(change func(*journey.Submission)) journey.Submission {
		sub := submission(good)
		change(&sub)
		return sub
	}
	text := func(text string) journey.Submission { return submission(text) }
	raw := func(field string) []byte {
		body, err := json.Marshal(submission(good))
		if err != nil {
			t.Fatal(err)
		}
		return append(body[:len(body)-1], field...)
	}
	const conversations = "/v1/conversations"
	path := conversations + "/" + mine.ID
	tests := []struct {
		name      string
		who       string
		method    string
		path      string
		body      any
		key       string
		status    int
		reason    string
		violation string
	}{
		{"nine characters", "jeanne", "POST", conversations, text("neuf cara"), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"nine in white space", "jeanne", "POST", conversations, text("  \r\n neuf cara \u00a0"), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"nine of NFC written in NFD", "jeanne", "POST", conversations, text("e\u0301te\u0301 perdu"), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"nine emojis", "jeanne", "POST", conversations, text(strings.Repeat("🙂", 9)), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"ten of CRLF and letters that are nine", "jeanne", "POST", conversations, text("abcd\r\nefgh"), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"751 characters", "jeanne", "POST", conversations, text(strings.Repeat("é", 751)), "new", 400, "BODY_TOO_LONG", "text BODY_TOO_LONG"},
		{"nine and a NUL", "jeanne", "POST", conversations, text("neuf cara\x00"), "new", 400, "BODY_TOO_SHORT", "text BODY_TOO_SHORT"},
		{"ten that nobody sees", "jeanne", "POST", conversations, text(strings.Repeat("\u2800", 10)), "new", 400, "BODY_BLANK", "text BODY_BLANK"},
		{"unknown theme", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.Theme = "inconnu" }), "new", 400, "THEME_UNKNOWN", "theme THEME_UNKNOWN"},
		{"unknown reason", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.Reason = "inconnu" }), "new", 400, "REASON_UNKNOWN", "reason REASON_UNKNOWN"},
		{"no reason", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.Reason = "" }), "new", 400, "REASON_REQUIRED", "reason REASON_REQUIRED"},
		{"theme of another audience", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.Theme, s.Topic, s.Reason = "exploitation", "appels", "montant" }), "new", 400, "THEME_NOT_FOR_AUDIENCE", "theme THEME_NOT_FOR_AUDIENCE"},
		{"reason of another audience", "jeanne", "POST", conversations, with(func(s *journey.Submission) {
			s.Theme, s.Topic, s.Reason = "compte-demarches", "coordonnees", "adresse-entreprise"
		}), "new", 400, "REASON_NOT_FOR_AUDIENCE", "reason REASON_NOT_FOR_AUDIENCE"},
		{"audience that is not hers", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.Audience = "EXPLOITANT" }), "new", 403, "AUDIENCE_NOT_YOURS", ""},
		{"no version", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.TaxonomyVersion = 0 }), "new", 400, "TAXONOMY_VERSION_REQUIRED", "taxonomyVersion TAXONOMY_VERSION_REQUIRED"},
		{"version to come", "jeanne", "POST", conversations, with(func(s *journey.Submission) { s.TaxonomyVersion = current + 1 }), "new", 400, "TAXONOMY_VERSION_UNKNOWN", "taxonomyVersion TAXONOMY_VERSION_UNKNOWN"},
		{"no key", "jeanne", "POST", conversations, text(good), "", 400, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key IDEMPOTENCY_KEY_REQUIRED"},
		{"a key that is no UUID", "jeanne", "POST", conversations, text(good), "42", 400, "IDEMPOTENCY_KEY_INVALID", "idempotency-key IDEMPOTENCY_KEY_INVALID"},
		{"unknown field", "jeanne", "POST", conversations, raw(`,"memberId":"usagers:paul"}`), "new", 400, "FIELD_UNKNOWN", "memberId FIELD_UNKNOWN"},
		{"no token", "", "POST", conversations, text(good), "new", 401, "TOKEN_REQUIRED", ""},
		{"an agent's token", "claire", "POST", conversations, text(good), "new", 403, "ACCESS_DENIED", ""},
		{"a machine's token", "crm", "POST", conversations, text(good), "new", 403, "ACCESS_DENIED", ""},
		{"a member in the agents' queue", "jeanne", "GET", "/v1/agent/conversations", nil, "", 403, "ACCESS_DENIED", ""},
		{"a member who claims", "jeanne", "POST", "/v1/agent/conversations/" + mine.ID + ":claim", []byte(`{}`), "", 403, "ACCESS_DENIED", ""},
		{"another member's conversation", "paul", "GET", path, nil, "", 404, "CONVERSATION_NOT_FOUND", ""},
		{"hiding another member's", "paul", "POST", path + ":hide", []byte(`{}`), "", 404, "CONVERSATION_NOT_FOUND", ""},
		{"reading another member's", "paul", "POST", path + ":markRead", []byte(`{}`), "", 404, "CONVERSATION_NOT_FOUND", ""},
		{"a conversation that is not", "jeanne", "GET", conversations + "/" + uuid.NewString(), nil, "", 404, "CONVERSATION_NOT_FOUND", ""},
		{"an id that is none", "jeanne", "GET", conversations + "/42", nil, "", 400, "UUID_INVALID", "id UUID_INVALID"},
		{"an unknown path", "jeanne", "GET", "/v1/everything", nil, "", 404, "", ""},
	}
	before := snapshot(t, s)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var header []string
			switch test.key {
			case "":
			case "new":
				header = []string{"Idempotency-Key", uuid.NewString()}
			default:
				header = []string{"Idempotency-Key", test.key}
			}
			answer := do(t, as(t, s, test.who), test.method, test.path, test.body, header...)
			problem := answer.Problem()
			if answer.Status != test.status || test.reason != "" && problem.Reason() != test.reason {
				t.Errorf("got %d %s, want %d %s: %s", answer.Status, problem.Reason(), test.status, test.reason, answer.Body)
			}
			if problem.Violation() != test.violation {
				t.Errorf("violation %q, want %q", problem.Violation(), test.violation)
			}
		})
	}
	// All that is wrong is told at once, whoever finds it.
	answer := do(t, jeanne, http.MethodPost, conversations+"?debug=1", []byte(`{"audience":"PARTICULIER","theme":"inconnu","sujet":"x","topic":1,"taxonomyVersion":3,"text":"x"}`))
	want := []string{"debug PARAMETER_UNKNOWN", "sujet FIELD_UNKNOWN", "topic VALUE_INVALID", "idempotency-key IDEMPOTENCY_KEY_REQUIRED", "theme THEME_UNKNOWN", "text BODY_TOO_SHORT"}
	if got := answer.Problem().Violations(); answer.Status != http.StatusBadRequest || !slices.Equal(got, want) {
		t.Errorf("%d %q, want %q", answer.Status, got, want)
	}
	if after := snapshot(t, s); after != before {
		t.Errorf("the refusals have changed something:\n%s\nthen\n%s", before, after)
	}
	if seen := do(t, paul, http.MethodGet, conversations, nil); strings.Contains(string(seen.Body), mine.ID) {
		t.Errorf("paul sees jeanne's conversation")
	}
}

// snapshot tells everything that the messaging service holds, and what was sent.
func snapshot(t *testing.T, s *stack.Stack) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL("messaging"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var out strings.Builder
	for _, table := range []string{"member", "conversation", "message", "event_log", "outbox", "audit"} {
		var rows string
		err := conn.QueryRow(t.Context(), `SELECT count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' ORDER BY r::text)), '') FROM `+table+` r`).Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, table, rows)
	}
	fmt.Fprintln(&out, "sent", len(s.Mailbox.Messages()))
	return out.String()
}

func TestSubmit_Boundaries(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne := as(t, s, "jeanne")
	for name, test := range map[string]struct{ sent, stored string }{
		"ten":              {"dix caract", "dix caract"},
		"750 of two bytes": {strings.Repeat("é", 750), strings.Repeat("é", 750)},
		"750 emojis":       {strings.Repeat("🙂", 750), strings.Repeat("🙂", 750)},
		"750 of NFD":       {strings.Repeat("e\u0301", 750), strings.Repeat("é", 750)},
		"CRLF":             {"Bonjour,\r\nune question\r\n", "Bonjour,\nune question"},
	} {
		got := send(t, jeanne, test.sent)
		back := read[recap](t, do(t, jeanne, http.MethodGet, "/v1/conversations/"+got.ID, nil)).Conversation
		if back.Messages[0].Text != test.stored {
			t.Errorf("%s: stored %q", name, back.Messages[0].Text)
		}
	}
}

// A selection made in a version that has been replaced is refused by name, and
// what was written before keeps its labels.
func TestSubmit_OldVersion(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne := as(t, s, "jeanne")
	before := send(t, jeanne, "Bonjour, une question.")
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL("taxonomy"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	// As another replica with a newer file would publish it.
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO taxonomy_version (version, content)
		SELECT version + 1, replace(regexp_replace(content, '\nversion: \d+\n', format(E'\nversion: %s\n', version + 1)), 'Je n’ai pas reçu mon paiement', 'Un paiement manque')
		FROM taxonomy_version WHERE version = $1`, current); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var refused journey.Answer
	for refused.Problem().Reason() != "TAXONOMY_VERSION_OUTDATED" {
		if ctx.Err() != nil {
			t.Fatalf("the new version is not noticed: %d %s", refused.Status, refused.Body)
		}
		refused = do(t, jeanne, http.MethodPost, "/v1/conversations", submission("Bonjour, une question."), "Idempotency-Key", uuid.NewString())
	}
	if refused.Status != http.StatusBadRequest || refused.Problem().Violation() != "taxonomyVersion TAXONOMY_VERSION_OUTDATED" || !strings.Contains(string(refused.Body), fmt.Sprintf(`"current":"%d"`, current+1)) {
		t.Errorf("got %d %s", refused.Status, refused.Body)
	}
	newer := submission("Bonjour, une question.")
	newer.TaxonomyVersion = current + 1
	after := read[recap](t, do(t, jeanne, http.MethodPost, "/v1/conversations", newer, "Idempotency-Key", uuid.NewString())).Conversation
	back := read[recap](t, do(t, jeanne, http.MethodGet, "/v1/conversations/"+before.ID, nil)).Conversation
	if after.Reason.Label != "Un paiement manque" || back.Reason.Label != "Je n’ai pas reçu mon paiement" {
		t.Errorf("labels %q and %q", after.Reason.Label, back.Reason.Label)
	}
}

// lastMessage is the last message that an agent reads in a conversation.
func lastMessage(t *testing.T, agent journey.Client, id string) string {
	t.Helper()
	return read[recap](t, do(t, agent, http.MethodGet, "/v1/agent/conversations/"+id, nil)).Conversation.LastMessageID
}

func TestReply_OneMailAndNoSMS(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne, crm := as(t, s, "jeanne"), as(t, s, "crm")
	sent := send(t, jeanne, "Bonjour, une question.")
	awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	key := uuid.NewString()
	path, last := "/v1/agent/conversations/"+sent.ID+":reply", lastMessage(t, crm, sent.ID)
	for range 3 {
		answer := do(t, crm, http.MethodPost, path, map[string]any{"text": "Voici la réponse.", "final": true, "lastMessageId": last}, "Idempotency-Key", key)
		if got := read[recap](t, answer).Conversation; len(got.Messages) != 2 || got.Status != "ANSWERED" {
			t.Errorf("got %s", answer.Body)
		}
	}
	if other := do(t, crm, http.MethodPost, path, map[string]any{"text": "Une autre.", "final": true, "lastMessageId": last}, "Idempotency-Key", key); other.Status != http.StatusConflict {
		t.Errorf("the same key with another text: %d %s", other.Status, other.Body)
	}
	about := awaitMail(t, s.Mailbox, sent.Reference, 2, 1)
	if last := about[len(about)-1]; last.Channel != inbox.Email || !strings.Contains(last.Subject, "réponse") {
		t.Errorf("the last is %+v", last)
	}
	next := send(t, jeanne, "Bonjour, une autre question.")
	awaitMail(t, s.Mailbox, next.Reference, 1, 1)
	awaitMail(t, s.Mailbox, sent.Reference, 2, 1)
}

// The words of members and agents are in none of the places where they have no
// business, and contact points not on the broker, in logs or in traces.
func TestCanary(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	s := start(t, dir)
	const question, answer = "CANARI-QUESTION-7f3a", "CANARI-REPLIQUE-91be"
	jeanne := as(t, s, "jeanne")
	sent := send(t, jeanne, "Bonjour, "+question+" : où en est mon dossier ?")
	crm := as(t, s, "crm")
	do(t, crm, http.MethodPost, "/v1/agent/conversations/"+sent.ID+":reply", map[string]any{"text": answer + " : il avance.", "final": true, "lastMessageId": lastMessage(t, crm, sent.ID)}, "Idempotency-Key", uuid.NewString())
	// Refused texts must not be logged either.
	do(t, jeanne, http.MethodPost, "/v1/conversations", submission(strings.Repeat(question, 50)), "Idempotency-Key", uuid.NewString())
	do(t, jeanne, http.MethodPost, "/v1/conversations", []byte(`{"text":"`+question+`",}`), "Idempotency-Key", uuid.NewString())
	awaitMail(t, s.Mailbox, sent.Reference, 2, 1)
	claire, number := as(t, s, "claire"), map[string]any{"memberNumber": "A1-204-517"}
	seen := do(t, claire, http.MethodGet, "/v1/agent/conversations/"+sent.ID, nil).Body
	found := do(t, claire, http.MethodPost, "/v1/agent/conversations:find", number).Body
	if !strings.Contains(string(seen), "A1-204-517") || !strings.Contains(string(seen), "Jeanne Martin") || !strings.Contains(string(found), sent.ID) {
		t.Fatalf("an agent does not see who writes: %s, or find them: %s", seen, found)
	}
	do(t, as(t, s, "nadia"), http.MethodPost, "/v1/agent/conversations:find", number) // refused
	if got := read[recap](t, do(t, jeanne, http.MethodGet, "/v1/conversations/"+sent.ID, nil)).Conversation; !strings.Contains(got.Messages[0].Text, question) || !strings.Contains(got.Messages[1].Text, answer) {
		t.Fatalf("the member does not read them: %+v", got)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	words := []string{question, answer}
	account := []string{"Jeanne Martin", "A1-204-517", "A1204517"}
	contacts := append([]string{"jeanne@example.org", "+33639980001"}, account...)
	for _, m := range s.Mailbox.Messages() {
		all, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		absent(t, "a "+m.Channel, string(all), append(words, account...))
	}
	searchFiles(t, filepath.Join(dir, "nats"), slices.Concat(words, contacts))
	searchFiles(t, filepath.Join(dir, "postgres"), slices.Concat(words, contacts))
	absent(t, "the log", logged.String(), slices.Concat(words, contacts))
	for _, span := range spans.GetSpans() {
		absent(t, "span "+span.Name, fmt.Sprint(span.Name, span.Attributes, span.Events, span.Status), slices.Concat(words, contacts))
	}
}

func absent(t *testing.T, where, content string, words []string) {
	t.Helper()
	for _, word := range words {
		if strings.Contains(content, word) {
			t.Errorf("%q is in %s", word, where)
		}
	}
}

func searchFiles(t *testing.T, dir string, words []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		absent(t, path, string(content), words)
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("searching %s: %d files, %v", dir, files, err)
	}
}

// One trace goes from the REST call to the calls of both providers.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	answer := do(t, as(t, s, "jeanne"), http.MethodPost, "/v1/conversations", submission("Bonjour, une question."),
		"Idempotency-Key", uuid.NewString(), "Traceparent", parent)
	sent := read[recap](t, answer).Conversation
	awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	want := []string{"SubmitMessage", "INSERT", "publish org.ma-messagerie.message-submitted.v1", "EMAIL", "SMS"}
	for {
		var names []string
		for _, span := range spans.GetSpans() {
			if span.SpanContext.TraceID().String() == parent[3:35] {
				names = append(names, span.Name)
			}
		}
		missing := slices.DeleteFunc(slices.Clone(want), func(name string) bool {
			return slices.ContainsFunc(names, func(got string) bool { return strings.Contains(strings.ToUpper(got), strings.ToUpper(name)) })
		})
		if len(missing) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the trace has %q, and lacks %q", names, missing)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestRestart_FindsEverythingAgain(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	s := start(t, dir)
	sent := send(t, as(t, s, "jeanne"), "Bonjour, une question.")
	awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	got := read[recap](t, do(t, as(t, again, "jeanne"), http.MethodGet, "/v1/conversations/"+sent.ID, nil)).Conversation
	if got.Reference != sent.Reference || got.Messages[0].Text != "Bonjour, une question." {
		t.Errorf("got %+v", got)
	}
	awaitMail(t, again.Mailbox, sent.Reference, 1, 1)
}

func TestReset_StartsClean(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	s := start(t, dir)
	send(t, as(t, s, "jeanne"), "Bonjour, une question.")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again, err := stack.Start(t.Context(), stack.Config{StateDir: dir, Reset: true, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	list := do(t, as(t, again, "jeanne"), http.MethodGet, "/v1/conversations", nil)
	if got := read[struct{ Conversations []any }](t, list); len(got.Conversations) != 0 || len(again.Mailbox.Messages()) != 0 {
		t.Errorf("left over: %s", list.Body)
	}
}

func TestStart_TellsWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	s := start(t, dir)
	_, err := stack.Start(t.Context(), stack.Config{StateDir: dir, WebAddr: free, HTTPAddr: free, GRPCAddr: free, OIDCAddr: free, InboxAddr: free, NATSAddr: free})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the same state folder: %v", err)
	}
	_, err = stack.Start(t.Context(), stack.Config{StateDir: stateDir(t), WebAddr: free, HTTPAddr: s.HTTP, GRPCAddr: free, OIDCAddr: free, InboxAddr: s.Inbox, NATSAddr: free})
	if err == nil {
		t.Fatal("started on taken ports")
	}
	for _, want := range []string{s.HTTP, "DEV_HTTP_ADDR", s.Inbox, "DEV_INBOX_ADDR"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// A provider that fails for a while loses nothing and gets nothing twice.
func TestProviderFaults(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne := as(t, s, "jeanne")
	box := journey.Client{Base: s.Places().Inbox}
	for _, mode := range []string{"throttle", "error", "accept-hang"} {
		for _, channel := range []string{inbox.Email, inbox.SMS} {
			fault := map[string]any{"channel": channel, "mode": mode, "count": 1, "retryAfterSeconds": 1}
			if answer := do(t, box, http.MethodPost, "/api/faults", fault); answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
		}
		sent := send(t, jeanne, "Bonjour, une question.")
		awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	}
}

func TestInbox_OverHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	sent := send(t, as(t, s, "marc"), "Bonjour, une question.")
	awaitMail(t, s.Mailbox, sent.Reference, 1, 1)
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(s.Places().Inbox + "/api/messages?channel=SMS&to=%2B33639980004")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), sent.Reference) || !strings.Contains(string(body), "we have received your message") {
		t.Errorf("got %s, %v", body, err)
	}
}

// Preferences over REST: what was answered can be put back, and a mask in JSON's words
// changes one of them.
func TestPreferences(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	jeanne := as(t, s, "jeanne")
	const path = "/v1/me/preferences"
	first := do(t, jeanne, http.MethodGet, path, nil)
	if put := do(t, jeanne, http.MethodPut, path, json.RawMessage(first.Body)); put.Status != http.StatusOK || compact(t, put.Body) != compact(t, first.Body) {
		t.Errorf("put back: %d %s, want %s", put.Status, put.Body, first.Body)
	}
	changed := do(t, jeanne, http.MethodPatch, path, map[string]any{"preferences": map[string]any{"smsOnReply": true, "locale": "en"}, "updateMask": "smsOnReply"})
	want := strings.Replace(compact(t, first.Body), `"smsOnReply":false`, `"smsOnReply":true`, 1)
	if changed.Status != http.StatusOK || compact(t, changed.Body) != want {
		t.Errorf("changed: %d %s, want %s", changed.Status, changed.Body, want)
	}
	for mask, reason := range map[string]string{"accountEmail": "FIELD_MASK_INVALID", "sms_on_reply": "VALUE_INVALID"} {
		got := do(t, jeanne, http.MethodPatch, path, map[string]any{"preferences": map[string]any{}, "updateMask": mask})
		if got.Status != http.StatusBadRequest || got.Problem().Reason() != reason {
			t.Errorf("%s: %d %s, want %s", mask, got.Status, got.Body, reason)
		}
	}
}
