package messaging

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func TestSubmit_RecapAndEvent(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	req := question()
	req.Text = " \r\n" + strings.ReplaceAll(memberText, "ù", "u\u0300") + "\r\nMerci \n"
	ctx, span := otel.Tracer("test").Start(jeanne.call(t, uuid.NewString()), "member")
	defer span.End()
	resp, err := s.messaging.SubmitMessage(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	sent := resp.GetConversation()
	want := &messagingpb.Conversation{
		Audience: taxonomypb.Audience_PARTICULIER, TaxonomyVersion: 1, ExpectedDelay: &messagingpb.ExpectedDelay{WorkingDays: 5}, Status: messagingpb.Status_SENT,
		Theme: &messagingpb.Choice{Code: "famille-logement", Label: "Famille v1"}, Topic: &messagingpb.Choice{Code: "allocations", Label: "Allocations v1"},
		Reason: &messagingpb.Choice{Code: "paiement-absent", Label: "Motif paiement-absent"}, Queue: &messagingpb.Choice{Code: "famille", Label: "Service famille v1"},
		Messages: []*messagingpb.Message{{Author: messagingpb.Author_MEMBER, Text: memberText + "\nMerci", Writer: &messagingpb.Writer{Kind: messagingpb.Writer_MEMBER}}},
	}
	given := cmp.Options{
		protocmp.Transform(), protocmp.IgnoreFields(&messagingpb.Conversation{}, "id", "reference", "create_time", "update_time"),
		protocmp.IgnoreFields(&messagingpb.Message{}, "id", "create_time"),
	}
	if diff := cmp.Diff(want, sent, given); diff != "" {
		t.Error(diff)
	}
	if id, err := uuid.Parse(sent.GetId()); err != nil || id.Version() != 7 || !regexp.MustCompile(`^MSA-[2-9A-HJKMNP-Z]{8}$`).MatchString(sent.GetReference()) || resp.GetExpectedDelay().GetWorkingDays() != 5 {
		t.Errorf("id %s, reference %s, delay %v", sent.GetId(), sent.GetReference(), resp.GetExpectedDelay())
	}
	if age := time.Since(sent.GetCreateTime().AsTime()).Abs(); age > messagingtest.Patience {
		t.Errorf("stored %s ago", age)
	}
	if diff := cmp.Diff(sent, jeanne.see(t, sent.GetId()), protocmp.Transform(), withoutSteps); diff != "" {
		t.Errorf("what is stored is not what was answered: %s", diff)
	}
	checkSubmitted(t, s, sent, span.SpanContext().TraceID().String())
}

// checkSubmitted checks the one event of a stage on which one message was sent.
func checkSubmitted(t *testing.T, s *stage, sent *messagingpb.Conversation, trace string) {
	t.Helper()
	msgs := s.published(t)
	if len(msgs) != 1 {
		t.Fatalf("%d events", len(msgs))
	}
	msg, id := msgs[0], msgs[0].Header.Get("Nats-Msg-Id")
	got := &eventspb.MessageSubmitted{}
	if err := proto.Unmarshal(msg.Data, got); err != nil {
		t.Fatal(err)
	}
	want := &eventspb.MessageSubmitted{
		Origin:   &eventspb.Origin{EventId: id, ConversationId: sent.GetId(), Reference: sent.GetReference(), Caisse: "msa-75", Queue: "famille", Version: 1},
		Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations", Reason: "paiement-absent",
		TaxonomyVersion: 1, MessageId: sent.GetMessages()[0].GetId(),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if msg.Subject != "messagerie.message-submitted.v1.msa-75" {
		t.Errorf("subject %s", msg.Subject)
	}
	for name, value := range map[string]string{
		"ce-id": id, "ce-type": "org.ma-messagerie.message-submitted.v1", "ce-source": "//ma-messagerie.org/messaging", "ce-dataschema": "https://type.googleapis.com/messagerie.events.v1.MessageSubmitted", "ce-specversion": "1.0", "ce-subject": sent.GetId(),
		"ce-datacontenttype": "application/protobuf", "ce-time": sent.GetCreateTime().AsTime().Format(time.RFC3339Nano),
	} {
		if msg.Header.Get(name) != value {
			t.Errorf("header %s is %q, want %q", name, msg.Header.Get(name), value)
		}
	}
	// The trace goes on from the call, which the outbox carried over.
	if parent := msg.Header.Get("traceparent"); !strings.HasPrefix(parent, "00-"+trace+"-") {
		t.Errorf("traceparent %q is not of the call's trace %s", parent, trace)
	}
}

// Logs, spans and figures are searched at the end of all tests, see TestMain.
func TestNothingWrittenIsInTheDatabaseOrInAnEvent(t *testing.T) {
	t.Parallel()
	s := running(t)
	sent, claire := s.member(t, "jeanne").submit(t), s.clerk(t, "claire", mayFind)
	claire.reply(t, sent.GetId(), true)
	s.member(t, "jeanne").ticket(t)
	if got := claire.find(t, &messagingpb.FindConversationsRequest{MemberNumber: memberNumber}); len(got) != 1 {
		t.Fatalf("found %v", got)
	}
	if holdsSecret(memberText) == "" || holdsSecret(agentText) == "" || holdsSecret(memberEmail) == "" || holdsSecret(memberPhone) == "" || holdsSecret(memberName) == "" || holdsSecret(memberNumber) == "" || holdsSecret(normalNumber) == "" {
		t.Fatal("the search finds nothing")
	}
	all := s.dump(t)
	if !strings.Contains(all, sent.GetReference()) || !strings.Contains(all, "member:jeanne") {
		t.Fatal("the dump is not one of the tables")
	}
	if secret := holdsSecret(all); secret != "" {
		t.Errorf("%q is in the database", secret)
	}
	keys := dumpOf(t, messagingtest.Open(t, s.cfg.VaultURL))
	if !strings.Contains(keys, "member:jeanne") {
		t.Fatal("the dump is not one of the vault")
	}
	if secret := holdsSecret(keys); secret != "" {
		t.Errorf("%q is in the vault", secret)
	}
	msgs := s.published(t)
	if len(msgs) != 2 {
		t.Fatalf("%d events", len(msgs))
	}
	for _, msg := range msgs {
		if secret := holdsSecret(string(msg.Data) + msg.Subject + strings.Join(slices.Concat(headerValues(msg.Header)...), " ")); secret != "" {
			t.Errorf("%q is in an event", secret)
		}
	}
}

func headerValues(header map[string][]string) (values [][]string) {
	for _, v := range header {
		values = append(values, v)
	}
	return values
}

func TestSubmit_SameKeySameAnswer(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	key := uuid.NewString()
	send := func(key, text string) *messagingpb.SubmitMessageResponse {
		t.Helper()
		req := question()
		req.Text = text
		resp, err := s.messaging.SubmitMessage(jeanne.call(t, key), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := send(key, memberText)
	id := first.GetConversation().GetId()
	before := s.rows(t)
	again := func(after string) {
		t.Helper()
		// The draft RFC's quotes, another case, and text that is normalised alike.
		for _, k := range []string{key, `"` + key + `"`, strings.ToUpper(key)} {
			if got := send(k, memberText+"\r\n"); !proto.Equal(first, got) {
				t.Errorf("%s, key %s: %s", after, k, cmp.Diff(first, got, protocmp.Transform()))
			}
		}
	}
	again("at once")
	claire.claim(t, id)
	again("claimed")
	if _, err := s.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	again("hidden")
	if got := s.rows(t); got != strings.ReplaceAll(before, "event_log 1", "event_log 2") { // the claim's
		t.Errorf("%s became %s", before, got)
	}
	claire.reply(t, id, true)
	again("answered and unread")
	if _, err := s.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)}); err != nil {
		t.Fatal(err)
	}
	again("closed")
	// A new version refuses new submissions of the old one, not the retry of one
	// that is stored.
	s.taxonomy.Current.Store(2)
	jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
	again("after a new version of the taxonomy")
	if got := jeanne.see(t, id); got.GetStatus() != messagingpb.Status_CLOSED {
		t.Errorf("a retry has changed the status to %v", got.GetStatus())
	}
}

func TestSubmit_SameKeyOtherContent(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	key := uuid.NewString()
	first, err := s.messaging.SubmitMessage(jeanne.call(t, key), question())
	if err != nil {
		t.Fatal(err)
	}
	s.published(t) // the relay is done: from here, the counts alone are written behind
	behind := []string{"backfill", "waiting_change", "waiting_count", "submission_slot"}
	before := s.dump(t, behind...)
	for name, change := range map[string]func(*messagingpb.SubmitMessageRequest){
		"text":   func(r *messagingpb.SubmitMessageRequest) { r.Text += "!" },
		"reason": func(r *messagingpb.SubmitMessageRequest) { r.Reason = "autre" },
		"topic":  func(r *messagingpb.SubmitMessageRequest) { r.Topic, r.Reason = "logement", "aide" },
		"theme": func(r *messagingpb.SubmitMessageRequest) {
			r.Theme, r.Topic, r.Reason = "sante", "soins", "remboursement"
		},
		"audience": func(r *messagingpb.SubmitMessageRequest) {
			r.Audience, r.Theme, r.Topic, r.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
		},
	} {
		req := question()
		change(req)
		_, err := s.messaging.SubmitMessage(jeanne.call(t, key), req)
		t.Log(name)
		refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	}
	if diff := cmp.Diff(before, s.dump(t, behind...)); diff != "" {
		t.Errorf("something was written: %s", diff)
	}
	// A key is a member's own.
	marc, err := s.messaging.SubmitMessage(s.member(t, "marc").call(t, key), question())
	if err != nil || marc.GetConversation().GetId() == first.GetConversation().GetId() {
		t.Errorf("another member with the same key: %v, %v", marc, err)
	}
}

// 64 callers send the same submissions at once: each is stored once, and
// every caller gets the same answer.
func TestSubmit_Stampede(t *testing.T) {
	t.Parallel()
	s := running(t)
	const callers = 64
	keys := 200
	if testenv.Race {
		keys = 50
	}
	jeanne := s.member(t, "jeanne")
	names := make([]string, keys)
	var answers [callers][]*messagingpb.SubmitMessageResponse
	for i := range names {
		names[i] = uuid.NewString()
	}
	var wg sync.WaitGroup
	for c := range callers {
		answers[c] = make([]*messagingpb.SubmitMessageResponse, keys)
		wg.Go(func() {
			for i := range keys {
				k := (i + c%2*keys/2) % keys // half of them meet the others midway
				resp, err := s.messaging.SubmitMessage(jeanne.call(t, names[k]), question())
				if err != nil {
					t.Error(err)
					return
				}
				answers[c][k] = resp
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for c := range answers {
		for k := range names {
			if !proto.Equal(answers[0][k], answers[c][k]) {
				t.Fatalf("key %d: caller %d got another answer than caller 0", k, c)
			}
		}
	}
	if got, want := s.rows(t), fmt.Sprintf("member 1 conversation %[1]d message %[1]d event_log %[1]d", keys); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := len(s.published(t)); n != keys {
		t.Errorf("%d events on the stream", n)
	}
}

func TestSubmit_Refusals(t *testing.T) {
	t.Parallel()
	s := running(t)
	s.member(t, "jeanne").submit(t)
	type submission = messagingpb.SubmitMessageRequest
	claims := func(name string, value any) map[string]any { return map[string]any{name: value} }
	tests := []struct {
		name   string
		claims map[string]any
		keys   []string
		change func(*submission)
		code   codes.Code
		reason string
		field  string
	}{
		{"no key", nil, []string{}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key"},
		{"empty key", nil, []string{""}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key"},
		{"no UUID", nil, []string{"0199-jeanne"}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "idempotency-key"},
		{"quotes alone", nil, []string{`""`}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "idempotency-key"},
		{"nil UUID", nil, []string{uuid.Nil.String()}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "idempotency-key"},
		{"two keys", nil, []string{uuid.NewString(), uuid.NewString()}, nil, codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "idempotency-key"},

		{"no audience", nil, nil, func(r *submission) { r.Audience = 0 }, codes.InvalidArgument, "REQUIRED", "audience"},
		{"no such audience", nil, nil, func(r *submission) { r.Audience = 4 }, codes.InvalidArgument, "VALUE_UNKNOWN", "audience"},
		{"another's profile", nil, nil, func(r *submission) { r.Audience = taxonomypb.Audience_EXPLOITANT }, codes.PermissionDenied, "AUDIENCE_NOT_YOURS", ""},
		{"no profile", claims("profiles", nil), nil, nil, codes.PermissionDenied, "AUDIENCE_NOT_YOURS", ""},
		{"no caisse", claims("caisse", ""), nil, nil, codes.FailedPrecondition, "CAISSE_UNKNOWN", ""},
		{"caisse that is a wildcard", claims("caisse", ">"), nil, nil, codes.FailedPrecondition, "CAISSE_UNKNOWN", ""},
		{"caisse of two tokens", claims("caisse", "msa.75"), nil, nil, codes.FailedPrecondition, "CAISSE_UNKNOWN", ""},
		{"caisse with a NUL", claims("caisse", "msa\x00-75"), nil, nil, codes.FailedPrecondition, "CAISSE_UNKNOWN", ""},
		{"caisse of 65", claims("caisse", strings.Repeat("a", 65)), nil, nil, codes.FailedPrecondition, "CAISSE_UNKNOWN", ""},

		{"no theme", nil, nil, func(r *submission) { r.Theme = "" }, codes.InvalidArgument, "REQUIRED", "theme"},
		{"theme too long", nil, nil, func(r *submission) { r.Theme = strings.Repeat("x", 65) }, codes.InvalidArgument, "TOO_LONG", "theme"},
		{"unknown theme", nil, nil, func(r *submission) { r.Theme = "x" }, codes.InvalidArgument, "THEME_UNKNOWN", "theme"},
		{"foreign theme", nil, nil, func(r *submission) { r.Theme = "exploitation" }, codes.InvalidArgument, "THEME_NOT_FOR_AUDIENCE", "theme"},
		{"no topic", nil, nil, func(r *submission) { r.Topic, r.Reason = "", "" }, codes.InvalidArgument, "TOPIC_REQUIRED", "topic"},
		{"a reason without a topic", nil, nil, func(r *submission) { r.Topic = "" }, codes.InvalidArgument, "TOPIC_REQUIRED", "topic"},
		{"unknown topic", nil, nil, func(r *submission) { r.Topic = "x" }, codes.InvalidArgument, "TOPIC_UNKNOWN", "topic"},
		{"another theme's topic", nil, nil, func(r *submission) { r.Topic = "soins" }, codes.InvalidArgument, "TOPIC_UNKNOWN", "topic"},
		{"foreign topic", nil, nil, func(r *submission) { r.Topic = "batiments" }, codes.InvalidArgument, "TOPIC_NOT_FOR_AUDIENCE", "topic"},
		{"no reason", nil, nil, func(r *submission) { r.Reason = "" }, codes.InvalidArgument, "REASON_REQUIRED", "reason"},
		{"unknown reason", nil, nil, func(r *submission) { r.Reason = "x" }, codes.InvalidArgument, "REASON_UNKNOWN", "reason"},
		{"another topic's reason", nil, nil, func(r *submission) { r.Reason = "aide" }, codes.InvalidArgument, "REASON_UNKNOWN", "reason"},
		{"foreign reason", nil, nil, func(r *submission) { r.Reason = "revenus-agricoles" }, codes.InvalidArgument, "REASON_NOT_FOR_AUDIENCE", "reason"},
		{"employer without a topic", nil, nil, func(r *submission) {
			r.Audience, r.Theme, r.Topic, r.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "", ""
		}, codes.InvalidArgument, "TOPIC_REQUIRED", "topic"},

		{"no version", nil, nil, func(r *submission) { r.TaxonomyVersion = 0 }, codes.InvalidArgument, "TAXONOMY_VERSION_REQUIRED", "taxonomyVersion"},
		{"negative version", nil, nil, func(r *submission) { r.TaxonomyVersion = -1 }, codes.InvalidArgument, "OUT_OF_RANGE", "taxonomyVersion"},
		{"version to come", nil, nil, func(r *submission) { r.TaxonomyVersion = 2 }, codes.InvalidArgument, "TAXONOMY_VERSION_UNKNOWN", "taxonomyVersion"},
		{"greatest version", nil, nil, func(r *submission) { r.TaxonomyVersion = math.MaxInt32 }, codes.InvalidArgument, "TAXONOMY_VERSION_UNKNOWN", "taxonomyVersion"},
	}
	before := s.rows(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, keys := question(), test.keys
			if test.change != nil {
				test.change(req)
			}
			if keys == nil {
				keys = []string{uuid.NewString()}
			}
			_, err := s.messaging.SubmitMessage(s.member(t, "paul", test.claims).call(t, keys...), req)
			refused(t, err, test.code, test.reason, test.field)
		})
	}
	_, err := s.messaging.SubmitMessage(s.clerk(t, "claire").call(t, uuid.NewString()), question())
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	if got := s.rows(t); got != before {
		t.Errorf("%s became %s", before, got)
	}
}

func TestSubmit_Text(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	accepted := 0
	for _, v := range messagingtest.Vectors(t, "testdata/text.json") {
		if v.Least != 0 { // counted against another bound than a member's
			continue
		}
		req := question()
		req.Text = v.Input()
		resp, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
		if v.Reason != nil {
			t.Log(v.Name)
			meta := refused(t, err, codes.InvalidArgument, v.Reason.(string), "text")
			if actual, ok := v.Actual.(float64); ok && meta["actual"] != strconv.Itoa(int(actual)) {
				t.Errorf("%s: actual %q", v.Name, meta["actual"])
			}
			continue
		}
		accepted++
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		body := resp.GetConversation().GetMessages()[0].GetText()
		if v.Normalised != "" && body != v.Normalised {
			t.Errorf("%s: stored as %q", v.Name, body)
		}
		if got := jeanne.see(t, resp.GetConversation().GetId()).GetMessages()[0].GetText(); got != body {
			t.Errorf("%s: answered %q, stored %q", v.Name, body, got)
		}
	}
	if n := s.count(t, `SELECT count(*) FROM conversation`); n != accepted || n == 0 {
		t.Errorf("%d conversations of %d accepted texts", n, accepted)
	}
}

func TestSubmit_DepthIsTheAudiences(t *testing.T) {
	t.Parallel()
	s := running(t)
	tilleuls := s.member(t, "tilleuls")
	employer := func(version int32, topic, reason string) *messagingpb.SubmitMessageResponse {
		t.Helper()
		resp, err := s.messaging.SubmitMessage(tilleuls.call(t, uuid.NewString()), &messagingpb.SubmitMessageRequest{
			Audience: taxonomypb.Audience_EMPLOYEUR, Theme: "dsn", Topic: topic, Reason: reason, TaxonomyVersion: version, Text: memberText,
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	without := employer(1, "depot", "")
	if c := without.GetConversation(); c.GetReason() != nil || c.GetTopic().GetLabel() != "Dépôt v1" || c.GetQueue().GetCode() != "entreprises" || without.GetExpectedDelay() != nil {
		t.Errorf("without a reason: %v", without)
	}
	if c := employer(1, "depot", "erreur").GetConversation(); c.GetReason().GetCode() != "erreur" {
		t.Errorf("a reason given all the same: %v", c.GetReason())
	}
	s.taxonomy.Current.Store(2)
	if c := employer(2, "", "").GetConversation(); c.GetTopic() != nil || c.GetTheme().GetLabel() != "DSN v2" {
		t.Errorf("the theme alone: %v", c)
	}
}

func TestSubmit_DefaultCaisse(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.DefaultCaisse = "msa-44"
	s.start(t)
	for _, none := range []string{"", "msa.75", "msa\x00-75", strings.Repeat("a", 65)} {
		s.member(t, "jeanne", map[string]any{"caisse": none}).submit(t)
	}
	for _, msg := range s.published(t) {
		if !strings.HasSuffix(msg.Subject, ".msa-44") {
			t.Errorf("published on %s", msg.Subject)
		}
	}
}

func TestOthersConversationIsNotFound(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	marc := s.member(t, "marc")
	calls := map[string]func(id string) error{
		"get": func(id string) error {
			_, err := s.messaging.GetConversation(marc.call(t), &messagingpb.GetConversationRequest{Id: id})
			return err
		},
		"hide": func(id string) error {
			_, err := s.messaging.HideConversation(marc.call(t), &messagingpb.HideConversationRequest{Id: id})
			return err
		},
		"show": func(id string) error {
			_, err := s.messaging.ShowConversation(marc.call(t), &messagingpb.ShowConversationRequest{Id: id})
			return err
		},
		"mark": func(id string) error {
			_, err := s.messaging.MarkConversationRead(marc.call(t), &messagingpb.MarkConversationReadRequest{Id: id})
			return err
		},
	}
	before := s.count(t, `SELECT count(*) FROM conversation WHERE NOT hidden`)
	for name, call := range calls {
		theirs := call(id)
		refused(t, theirs, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
		if nobodys := call(uuid.NewString()); theirs.Error() != nobodys.Error() {
			t.Errorf("%s distinguishes another's from nobody's: %v, %v", name, theirs, nobodys)
		}
		if err := call("7"); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of no UUID: %v", name, err)
		}
	}
	if after := s.count(t, `SELECT count(*) FROM conversation WHERE NOT hidden`); after != before {
		t.Error("another's conversation was hidden")
	}
}

// page returns the ids of one page, and what comes after it.
func (c caller) page(t *testing.T, req *messagingpb.ListConversationsRequest) (ids []string, next string) {
	t.Helper()
	resp, err := c.messaging.ListConversations(c.call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, conversation := range resp.GetConversations() {
		if len(conversation.GetMessages()) > 0 || conversation.GetHidden() != req.GetHidden() {
			t.Errorf("in the list: %v", conversation)
		}
		ids = append(ids, conversation.GetId())
	}
	return ids, resp.GetNextPageToken()
}

func TestList_Pages(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	s.member(t, "marc").submit(t)
	var newest []string
	for range 5 {
		newest = slices.Insert(newest, 0, jeanne.submit(t).GetId())
	}
	// An answer makes an old conversation the most recent.
	s.clerk(t, "claire").reply(t, newest[4], false)
	newest = []string{newest[4], newest[0], newest[1], newest[2], newest[3]}
	first, next := jeanne.page(t, &messagingpb.ListConversationsRequest{PageSize: 2})
	// What comes in between neither shifts nor repeats what follows.
	late := jeanne.submit(t).GetId()
	second, next := jeanne.page(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: next})
	third, end := jeanne.page(t, &messagingpb.ListConversationsRequest{PageSize: 2, PageToken: next})
	if diff := cmp.Diff(newest, slices.Concat(first, second, third)); diff != "" || end != "" {
		t.Errorf("%s, then %q", diff, end)
	}
	if all, next := jeanne.page(t, &messagingpb.ListConversationsRequest{PageSize: 6}); len(all) != 6 || all[0] != late || next != "" {
		t.Errorf("a page that holds just all: %v, %q", all, next)
	}
}

func TestList_Hidden(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	a, b := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	for range 2 { // the second time changes nothing
		resp, err := s.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: a})
		if err != nil || !resp.GetConversation().GetHidden() {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	lists := func() (shown, hidden []string) {
		shown, _ = jeanne.page(t, &messagingpb.ListConversationsRequest{})
		hidden, _ = jeanne.page(t, &messagingpb.ListConversationsRequest{Hidden: true})
		return shown, hidden
	}
	if shown, hidden := lists(); !slices.Equal(shown, []string{b}) || !slices.Equal(hidden, []string{a}) {
		t.Errorf("shown %v, hidden %v", shown, hidden)
	}
	if got := jeanne.see(t, a); !got.GetHidden() {
		t.Error("a hidden conversation cannot be read, or does not say so")
	}
	resp, err := s.messaging.ShowConversation(jeanne.call(t), &messagingpb.ShowConversationRequest{Id: a})
	if err != nil || resp.GetConversation().GetHidden() {
		t.Fatalf("%v, %v", resp, err)
	}
	if shown, hidden := lists(); !slices.Equal(shown, []string{b, a}) || len(hidden) != 0 {
		t.Errorf("shown %v, hidden %v", shown, hidden)
	}
}

func TestList_Audience(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	private := jeanne.submit(t).GetId()
	employer := jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) {
		r.Audience, r.Theme, r.Topic, r.Reason = taxonomypb.Audience_EMPLOYEUR, "dsn", "depot", ""
	}).GetId()
	for audience, want := range map[taxonomypb.Audience][]string{
		taxonomypb.Audience_AUDIENCE_UNSPECIFIED: {employer, private},
		taxonomypb.Audience_PARTICULIER:          {private},
		taxonomypb.Audience_EMPLOYEUR:            {employer},
		taxonomypb.Audience_EXPLOITANT:           nil,
	} {
		if got, _ := jeanne.page(t, &messagingpb.ListConversationsRequest{Audience: audience}); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", audience, got, want)
		}
	}
}

func TestList_BadRequests(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	// Whoever knows how tokens are made can make these.
	at := func(micros int64) []byte {
		return append(binary.BigEndian.AppendUint64(nil, uint64(micros)), make([]byte, 16)...)
	}
	made := auth.NewContext(t.Context(), &auth.Identity{Subject: "member:jeanne"})
	var tokens []string
	for _, key := range [][]byte{append(at(0), 'A'), at(math.MaxInt64), at(math.MinInt64), at(-1)} {
		tokens = append(tokens, rpc.PageToken(made, &messagingpb.ListConversationsRequest{}, key))
	}
	for _, token := range append(tokens, "x", "!!", "AAAA") {
		_, err := s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageToken: token})
		refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
	}
	// One that would do shows that those were of the right caller.
	good := rpc.PageToken(made, &messagingpb.ListConversationsRequest{}, at(0))
	if _, err := s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageToken: good}); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"of another list":   second(s.agent.ListConversations(s.clerk(t, "claire").call(t), &messagingpb.AgentServiceListConversationsRequest{PageToken: good})),
		"of another member": second(s.messaging.ListConversations(s.member(t, "paul").call(t), &messagingpb.ListConversationsRequest{PageToken: good})),
		"of other filters":  second(s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageToken: good, Hidden: true})),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{PageToken: good, PageSize: 7}); err != nil {
		t.Errorf("with another size: %v", err)
	}
}

func TestMarkRead(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	sent, other := jeanne.submit(t), jeanne.submit(t)
	id := sent.GetId()
	last := func(c *messagingpb.Conversation) string { return c.GetMessages()[len(c.GetMessages())-1].GetId() }
	first := last(claire.reply(t, id, false))
	second := last(claire.reply(t, id, false))
	foreign := last(claire.reply(t, other.GetId(), true))
	for _, step := range []struct {
		name, upTo string
		unread     bool
		count      int32
	}{
		{"the member's own message", sent.GetMessages()[0].GetId(), true, 2},
		{"the older reply", first, true, 2},
		{"the newer reply", second, false, 1},
		{"the older reply again", first, false, 1},
		{"everything", "", false, 1},
	} {
		resp, err := s.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: id, MessageId: step.upTo})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.messaging.ListConversations(jeanne.call(t), &messagingpb.ListConversationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got := jeanne.see(t, id); resp.GetConversation().GetUnread() != step.unread || got.GetUnread() != step.unread || list.GetUnreadCount() != step.count {
			t.Errorf("up to %s: unread %v, %d unread in all", step.name, got.GetUnread(), list.GetUnreadCount())
		}
	}
	for _, message := range []string{foreign, uuid.NewString()} {
		_, err := s.messaging.MarkConversationRead(jeanne.call(t), &messagingpb.MarkConversationReadRequest{Id: id, MessageId: message})
		refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	}
	if got := claire.reply(t, id, true); !got.GetUnread() || !jeanne.see(t, id).GetUnread() {
		t.Error("a new reply is not unread")
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	s := running(t)
	notifier := s.machine(t)
	old := s.member(t, "jeanne").submit(t)
	s.taxonomy.Current.Store(2)
	marc := s.member(t, "marc", map[string]any{"email": "", "phone_number": "+33639989998", "locale": "en-GB"}).submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
	resp, err := s.recipients.BatchGetRecipients(notifier.call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{marc.GetId(), uuid.NewString(), old.GetId()}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*messagingpb.Recipient{
		old.GetId(): {
			ConversationId: old.GetId(), Email: memberEmail, Phone: memberPhone, Locale: "fr", Reference: old.GetReference(), ReceiveTime: old.GetCreateTime(),
			Queue: messagingtest.TaxonomyOf(1).GetQueues()[0],
		},
		marc.GetId(): {
			ConversationId: marc.GetId(), Phone: "+33639989998", Locale: "en", Reference: marc.GetReference(), ReceiveTime: marc.GetCreateTime(),
			Queue: messagingtest.TaxonomyOf(2).GetQueues()[0],
		},
	}
	got := make(map[string]*messagingpb.Recipient)
	for _, r := range resp.GetRecipients() {
		got[r.GetConversationId()] = r
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || len(resp.GetRecipients()) != 2 {
		t.Error(diff)
	}
	for name, err := range map[string]error{
		"an agent": second(s.recipients.BatchGetRecipients(s.clerk(t, "claire").call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{old.GetId()}})),
		"a member": second(s.recipients.BatchGetRecipients(s.member(t, "jeanne").call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{old.GetId()}})),
	} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s gets contact points: %v", name, err)
		}
	}
}

// withoutSteps compares conversations but for what happened to them, which only
// their member gets.
var withoutSteps = protocmp.IgnoreFields(&messagingpb.Conversation{}, "steps")

func second[T any](_ T, err error) error { return err }

// Contact points are those of the newest submission, of old conversations too.
func TestRecipients_FollowTheClaims(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	other := s.start(t)
	s.start(t)
	email := func(address string) map[string]any { return map[string]any{"email": address} }
	id := s.member(t, "jeanne", email("un@canari.example")).submit(t).GetId()
	expect := func(address string) {
		t.Helper()
		resp, err := s.recipients.BatchGetRecipients(s.machine(t).call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{id}})
		if err != nil || len(resp.GetRecipients()) != 1 || resp.GetRecipients()[0].GetEmail() != address {
			t.Errorf("%v, %v; want %s", resp, err, address)
		}
	}
	expect("un@canari.example")
	s.member(t, "jeanne", email("deux@canari.example")).submit(t)
	expect("deux@canari.example")
	// A process that has not seen her yet, then one that has.
	if _, err := other.messaging.SubmitMessage(s.member(t, "jeanne", email("trois@canari.example")).call(t, uuid.NewString()), question()); err != nil {
		t.Fatal(err)
	}
	expect("trois@canari.example")
	s.member(t, "jeanne", email("quatre@canari.example")).submit(t)
	expect("quatre@canari.example")
	// Back to an address that this process has stored, after another stored one.
	if _, err := other.messaging.SubmitMessage(s.member(t, "jeanne", email("cinq@canari.example")).call(t, uuid.NewString()), question()); err != nil {
		t.Fatal(err)
	}
	expect("cinq@canari.example")
	s.member(t, "jeanne", email("quatre@canari.example")).submit(t)
	expect("quatre@canari.example")
}
