package notifier

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// directory is the messaging service, as far as the notifier sees it: a real gRPC
// server that asks for a machine's token.
type directory struct {
	messagingpb.UnimplementedRecipientServiceServer
	messagingpb.UnimplementedEventLogServiceServer
	// logged is the event log, settled up to settled.
	logged  []*messagingpb.LoggedEvent
	settled time.Time
	// retention is how long the log says that it keeps events; nil: it does not say.
	retention *durationpb.Duration
	// readers may see every conversation, by subject or caisse.
	readers map[string]bool
	mu      sync.Mutex
	known   map[string]*messagingpb.Recipient
	calls   atomic.Int64
	// failures is how many calls are still to fail.
	failures atomic.Int64
}

func (d *directory) BatchGetRecipients(_ context.Context, req *messagingpb.BatchGetRecipientsRequest) (*messagingpb.BatchGetRecipientsResponse, error) {
	d.calls.Add(1)
	if d.failures.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &messagingpb.BatchGetRecipientsResponse{}
	for _, id := range req.GetConversationIds() {
		if found := d.known[id]; found != nil {
			resp.Recipients = append(resp.Recipients, found)
		}
	}
	return resp, nil
}

// stage is everything around a notifier.
type stage struct {
	*directory
	ledger    *ledger.Ledger
	pool      *pgxpool.Pool
	broker    *testenv.Broker
	providers *providertest.Providers
	cfg       Config
	publisher *bus.Bus
	// members, staff and machines sign the tokens that are accepted.
	members, staff, machines *testenv.Issuer
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{directory: &directory{known: make(map[string]*messagingpb.Recipient), readers: make(map[string]bool)}, providers: providertest.New(t), broker: testenv.NATS(t)}
	s.ledger, s.pool = ledgerAndPool(t)
	s.members, s.staff, s.machines = testenv.NewIssuer(t, auth.RealmMember), testenv.NewIssuer(t, auth.RealmAgent), testenv.NewIssuer(t, auth.RealmMachine)
	issuer := s.machines
	s.cfg = Config{
		Process:       chassis.Process{DrainTimeout: 10 * time.Second},
		ServerConfig:  rpc.ServerConfig{Addr: "127.0.0.1:0"},
		Config:        auth.Config{Issuers: auth.Issuers{s.members.Issuer, s.staff.Issuer, s.machines.Issuer}},
		MachineConfig: auth.MachineConfig{TokenURL: issuer.Issuer.URL + "/token", ClientID: "notifier", ClientSecret: "secret"},
		Bus:           bus.Config{URL: s.broker.URL, Replicas: 1, MaxBytes: 64 << 20},
		SendGrid:      provider.SendGrid{BaseURL: s.providers.URL, APIKey: "sg-key", From: "no-reply@example.org", FromName: "Ma messagerie"},
		Twilio: provider.Twilio{
			BaseURL: s.providers.URL, AccountSID: "AC0", AuthToken: "tw-token", From: "+33700000000", Lookup: true,
			StatusCallback: "https://gw.example.org/webhooks/twilio",
		},
		DatabaseURL:   s.pool.Config().ConnString(),
		Migrate:       true,
		MessagingAddr: serveDirectory(t, s.directory, issuer.Issuer),
		SiteAddress:   "messagerie.example.org",
		Workers:       8, CallTimeout: 5 * time.Second, Lease: 15 * time.Second, AmbiguityWait: time.Minute, Poll: 50 * time.Millisecond,
		WebhookMaxAge: 25 * time.Hour, SMSHours: Hours{0, 24},
	}
	if err := s.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	publisher, err := bus.Connect("test", s.cfg.Bus, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"}, MaxAge: time.Hour, DuplicateWindow: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	s.publisher = publisher
	return s
}

func serveDirectory(t *testing.T, d *directory, issuer auth.Issuer) (addr string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Listener: lis}, auth.NewVerifier(auth.Config{Issuers: auth.Issuers{issuer}}))
	if err != nil {
		t.Fatal(err)
	}
	messagingpb.RegisterRecipientServiceServer(server, d)
	messagingpb.RegisterEventLogServiceServer(server, d)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "passthrough:///" + lis.Addr().String()
}

// start runs a notifier until stop is called, or the test ends.
func (s *stage) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, s.cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(notifiertest.Patience):
			t.Error("the notifier does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// newcomer makes a conversation whose member can be reached.
func (s *stage) newcomer() *messagingpb.Recipient {
	to := member("fr")
	to.ConversationId = uuid.NewString()
	to.Email = "canary." + to.GetConversationId() + "@example.org"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[to.GetConversationId()] = to
	return to
}

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// eventOf is an event about a conversation, as the messaging service publishes it.
func eventOf(t *testing.T, kind string, to *messagingpb.Recipient) (uuid.UUID, bus.Event) {
	t.Helper()
	id := uuid.New()
	origin := &eventspb.Origin{EventId: id.String(), ConversationId: to.GetConversationId(), Reference: to.GetReference(), Caisse: "armorique"}
	var payload proto.Message = &eventspb.MessageSubmitted{Origin: origin}
	if kind == eventspb.TypeReplyPosted {
		payload = &eventspb.ReplyPosted{Origin: origin, Final: true}
	}
	data, err := proto.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return id, bus.Event{
		ID: id.String(), Type: eventspb.CEType(eventspb.DefaultDomain, kind), Source: "/messaging", Subject: eventspb.Subject(kind, "armorique"),
		Entity: to.GetConversationId(), Time: time.Now(), Data: data,
	}
}

func (s *stage) publish(t *testing.T, events ...bus.Event) {
	t.Helper()
	notifiertest.Eventually(t, "the broker takes the events", func() bool {
		return errors.Join(s.publisher.Publish(t.Context(), events)...) == nil
	})
}

// settled waits until the ledger has n rows and all of them have ended.
func (s *stage) settled(t *testing.T, n int) {
	t.Helper()
	notifiertest.Eventually(t, fmt.Sprintf("%d deliveries have ended", n), func() bool {
		var rows, open int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE next_attempt_at IS NOT NULL OR lease_until IS NOT NULL)
			FROM delivery`).Scan(&rows, &open)
		return err == nil && rows == n && open == 0
	})
}

func TestSubmissionAndReply(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	to := s.newcomer()
	submitted, event := eventOf(t, eventspb.TypeMessageSubmitted, to)
	s.publish(t, event)
	s.settled(t, 2)
	_, reply := eventOf(t, eventspb.TypeReplyPosted, to)
	s.publish(t, reply)
	s.settled(t, 4)
	mails, texts := s.providers.Accepted(providertest.Email), s.providers.Accepted(providertest.SMS)
	if len(mails) != 2 || len(texts) != 1 {
		t.Fatalf("%d mails and %d SMS, want 2 and 1", len(mails), len(texts))
	}
	if mails[0].To != to.GetEmail() || mails[0].DeliveryID != submitted.String()+".EMAIL" || !strings.HasPrefix(mails[0].Mail["subject"].(string), "Accusé de réception") {
		t.Errorf("acknowledgement: %+v", mails[0])
	}
	if subject := mails[1].Mail["subject"].(string); !strings.HasPrefix(subject, "Une réponse") {
		t.Errorf("reply: subject %q", subject)
	}
	if texts[0].To != to.GetPhone() || texts[0].DeliveryID != submitted.String()+".SMS" {
		t.Errorf("SMS: %+v", texts[0])
	}
	figures := notifiertest.Figures()
	for _, name := range []string{"events", "deliveries", "call.duration", "delay", "waiting", "overdue"} {
		if !strings.Contains(figures, "messagerie.notifier."+name) {
			t.Errorf("figure %s is missing", name)
		}
	}
}

// What a member has chosen decides, as it is when the SMS would leave.
func TestPreferences(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	silent, eager, fickle, late := s.newcomer(), s.newcomer(), s.newcomer(), s.newcomer()
	silent.NoSmsOnAcknowledgement, eager.SmsOnReply, fickle.SmsOnReply = true, true, true
	events := make([]bus.Event, 0, 8)
	for _, to := range []*messagingpb.Recipient{silent, eager, fickle, late} {
		for _, kind := range []string{eventspb.TypeMessageSubmitted, eventspb.TypeReplyPosted} {
			_, event := eventOf(t, kind, to)
			events = append(events, event)
		}
	}
	fickle.SmsOnReply, late.SmsOnReply = false, true // between the reply and the SMS
	s.publish(t, events...)
	s.settled(t, 16)
	told := make(map[string]int)
	for _, text := range s.providers.Accepted(providertest.SMS) {
		told[text.Form.Get("Body")]++
	}
	texts := 0
	for body, n := range told {
		texts += n
		if size, ok := letter.Septets(body); !ok || size > letter.OnePart || strings.Contains(body, "http") {
			t.Errorf("SMS %q", body)
		}
	}
	if mails := s.providers.Accepted(providertest.Email); len(mails) != 8 || texts != 5 {
		t.Errorf("%d mails and %d SMS, want 8, and 5: three acknowledgements and two replies", len(mails), texts)
	}
	var notWanted int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state = 'suppressed' AND reason = 'NOT_WANTED'`).Scan(&notWanted); err != nil || notWanted != 3 {
		t.Errorf("%d not wanted, %v; want 3", notWanted, err)
	}
	if letters, err := s.ledger.DeadLetters(t.Context(), ledger.Filter{Deliveries: true}, nil, 10); err != nil || len(letters) != 0 {
		t.Errorf("dead letters %v, %v", letters, err)
	}
	for outcome, want := range map[provider.Class]bool{provider.Suppressed: false, provider.Accepted: true} {
		if _, called := notifiertest.Counted(t, "messagerie.notifier.call.duration", "channel", "SMS", "provider", "twilio", "outcome", string(outcome)); called != want {
			t.Errorf("calls to twilio that ended %s: %t", outcome, called)
		}
	}
}

// At night an SMS about a reply waits, however fresh, and one that nobody wishes or that has
// no number does not: nothing would be sent in the morning either.
func TestPreferences_AtNight(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.SMSHours = Hours{} // it is night for ever
	s.start(t)
	eager, other, mute := s.newcomer(), s.newcomer(), s.newcomer()
	eager.SmsOnReply, mute.SmsOnReply, mute.Phone = true, true, ""
	for to, want := range map[*messagingpb.Recipient]row{
		eager: {State: ledger.Planned, Reason: ledger.ReasonQuietHours}, other: {State: ledger.Suppressed, Reason: ledger.ReasonNotWanted, Wait: -1},
		mute: {State: ledger.Suppressed, Reason: ledger.ReasonNoPhone, Wait: -1},
	} {
		id, event := eventOf(t, eventspb.TypeReplyPosted, to)
		s.publish(t, event)
		var got row
		notifiertest.Eventually(t, "it is "+want.Reason, func() bool {
			var known bool
			err := s.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM delivery WHERE event_id = $1 AND channel = 'SMS' AND reason = $2)`, id, want.Reason).Scan(&known)
			return err == nil && known
		})
		if got = look(t, s.pool, id, ledger.SMS); got.State != want.State || got.Attempts != 0 || (got.Wait > 0) != (want.Wait == 0) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// The promise: whatever is delivered twice and by whomever, one mail and one SMS.
func TestExactlyOnceWithRepeatedEventsAndTwoNotifiers(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	s.start(t)
	const submissions = 40
	var wanted []string
	for range submissions {
		to := s.newcomer()
		wanted = append(wanted, to.GetEmail())
		id, event := eventOf(t, eventspb.TypeMessageSubmitted, to)
		for i := range 5 {
			copied := event
			copied.ID = fmt.Sprintf("%s-%d", id, i) // past what the broker can tell
			s.publish(t, copied)
		}
	}
	s.settled(t, 2*submissions)
	counts := make(map[string]int)
	for _, call := range s.providers.Accepted(providertest.Email) {
		counts[call.To]++
	}
	for _, address := range wanted {
		if counts[address] != 1 {
			t.Errorf("a member got %d mails", counts[address])
		}
	}
	if n := len(s.providers.Accepted(providertest.SMS)); n != submissions {
		t.Errorf("%d SMS, want %d", n, submissions)
	}
}

// A process dies between its claim and its record.
func TestCrashIsMendedOnceAfterTheWait(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.AmbiguityWait = time.Second
	to := s.newcomer()
	event := uuid.New()
	plans := planOf(ledger.Email, ledger.SMS)
	for i := range plans {
		plans[i].EventID, plans[i].ConversationID = event, uuid.MustParse(to.GetConversationId())
	}
	notifiertest.Plan(t, s.ledger, plans)
	const lease = 300 * time.Millisecond
	for _, channel := range ledger.Channels {
		if _, err := s.ledger.Claim(t.Context(), channel, 1, lease); err != nil {
			t.Fatal(err)
		}
	}
	crashed := time.Now()
	s.start(t)
	s.settled(t, 2)
	for _, channel := range ledger.Channels {
		sent := s.providers.Accepted(string(channel))
		if len(sent) != 1 || sent[0].At.Sub(crashed) < lease+s.cfg.AmbiguityWait-100*time.Millisecond {
			t.Errorf("%s: %d sent, the first after %s", channel, len(sent), sent[0].At.Sub(crashed))
		}
		if got := look(t, s.pool, event, channel); got.State != ledger.Accepted || got.Attempts != 2 || got.Unknowns != 1 {
			t.Errorf("%s: %+v", channel, got)
		}
	}
}

func TestThrottledIsRepeatedWhenAllowed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var refusals atomic.Int64
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		if call.Channel != providertest.Email || refusals.Add(1) > 1 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	s.start(t)
	id, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)
	mails := s.providers.Accepted(providertest.Email)
	first := s.providers.Calls()[0]
	for _, call := range s.providers.Calls() {
		if call.Channel == providertest.Email {
			first = call
			break
		}
	}
	if len(mails) != 1 || mails[0].At.Sub(first.At) < time.Second {
		t.Errorf("%d mails; repeated after %s, asked for was 1s", len(mails), mails[0].At.Sub(first.At))
	}
	if got := look(t, s.pool, id, ledger.Email); got.Attempts != 2 || got.Unknowns != 0 {
		t.Errorf("%+v", got)
	}
}

// A provider's refusal may repeat the address; the end is visible without it.
func TestRefusedEndsWithItsReason(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"code":21211,"message":"'To' number %s is not valid"}`, call.To)
		return true
	})
	s.start(t)
	id, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)
	for channel, reason := range map[ledger.Channel]string{ledger.Email: "HTTP_400", ledger.SMS: "TWILIO_21211"} {
		if got := look(t, s.pool, id, channel); got.State != ledger.Refused || got.Reason != reason || got.Attempts != 1 {
			t.Errorf("%s: %+v", channel, got)
		}
	}
}

// A provider that takes the request and never answers has perhaps sent it.
func TestHangIsUnknown(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.CallTimeout = 2 * time.Second
	s.providers.Answer(func(call *providertest.Call, _ http.ResponseWriter) bool {
		if call.Channel == providertest.Email {
			<-call.Gone
		}
		return call.Channel == providertest.Email
	})
	s.start(t)
	id, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	ends := func(channel ledger.Channel, want ledger.State) func() bool {
		return func() bool {
			var got ledger.State
			err := s.pool.QueryRow(t.Context(), `SELECT state FROM delivery WHERE event_id = $1 AND channel = $2`, id, channel).Scan(&got)
			return err == nil && got == want
		}
	}
	notifiertest.Eventually(t, "the hang is noticed", ends(ledger.Email, ledger.Unknown))
	if got := look(t, s.pool, id, ledger.Email); got.Reason != "NO_ANSWER_IN_TIME" || got.Wait < 60 {
		t.Errorf("%+v", got)
	}
	// The other channel has its own workers.
	notifiertest.Eventually(t, "the SMS is accepted", ends(ledger.SMS, ledger.Accepted))
}

// Our key is wrong: everything waits, nothing is spent, and it leaves once mended.
func TestConfigFaultCostsNoAttempt(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var mended atomic.Bool
	s.providers.Answer(func(_ *providertest.Call, w http.ResponseWriter) bool {
		if mended.Load() {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	s.start(t)
	id, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, event)
	notifiertest.Eventually(t, "the refusal is recorded", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM attempt WHERE outcome = 'config_fault' AND http_status = 401`).Scan(&n)
		return err == nil && n == 1
	})
	if got := look(t, s.pool, id, ledger.Email); got.State != ledger.Planned || got.Attempts != 0 || got.Wait < 60 {
		t.Errorf("%+v", got)
	}
	mended.Store(true)
	notifiertest.Due(t, s.pool)
	s.settled(t, 2)
	if n := len(s.providers.Accepted(providertest.Email)); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

func TestWithoutRecipientsRowsGoBack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.failures.Store(3)
	s.start(t)
	id, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)
	if got := look(t, s.pool, id, ledger.Email); got.State != ledger.Accepted || got.Attempts != 1 {
		t.Errorf("%+v", got)
	}
	if n := s.calls.Load(); n != 5 {
		t.Errorf("messaging was asked %d times, want 5: by each channel, and for what failed", n)
	}
}

func TestNobodyToSendTo(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	for _, row := range []struct {
		email, phone   string
		onEmail, onSMS string
	}{
		{"", "", ledger.ReasonNoEmail, ledger.ReasonNoPhone},
		{"canary.two@example.org, x@example.org", "0142345678", ledger.ReasonEmailInvalid, ledger.ReasonPhoneInvalid},
		{"canary.x@example.org\r\nBcc: y@example.org", "+33", ledger.ReasonEmailInvalid, ledger.ReasonPhoneInvalid},
		{"Jeanne Canary <canary.x@example.org>", "+336399800011234567", ledger.ReasonEmailInvalid, ledger.ReasonPhoneInvalid},
	} {
		to := s.newcomer()
		to.Email, to.Phone = row.email, row.phone
		id, event := eventOf(t, eventspb.TypeMessageSubmitted, to)
		s.publish(t, event)
		for channel, reason := range map[ledger.Channel]string{ledger.Email: row.onEmail, ledger.SMS: row.onSMS} {
			notifiertest.Eventually(t, "the delivery is suppressed", func() bool {
				var found ledger.State
				var why string
				err := s.pool.QueryRow(t.Context(), `SELECT state, reason FROM delivery WHERE event_id = $1 AND channel = $2`, id, channel).Scan(&found, &why)
				return err == nil && found == ledger.Suppressed && why == reason
			})
		}
	}
	gone := member("fr")
	gone.ConversationId = uuid.NewString()
	id, event := eventOf(t, eventspb.TypeReplyPosted, gone)
	s.publish(t, event)
	s.settled(t, 10)
	for _, channel := range ledger.Channels {
		if got := look(t, s.pool, id, channel); got.State != ledger.Suppressed || got.Reason != ledger.ReasonConversationUnknown {
			t.Errorf("%s, unknown conversation: %+v", channel, got)
		}
	}
	if len(s.providers.Calls()) != 0 {
		t.Errorf("providers were called %d times", len(s.providers.Calls()))
	}
}

// What cannot be read holds up nothing, and what is none of ours makes nothing.
func TestUnreadableEventsAreSetAside(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	to := s.newcomer()
	_, garbage := eventOf(t, eventspb.TypeMessageSubmitted, to)
	garbage.Data = []byte{0xff, 0xff, 0xff}
	_, nameless := eventOf(t, eventspb.TypeReplyPosted, to)
	nameless.Data = nil
	_, foreign := eventOf(t, eventspb.TypeReplyPosted, to)
	foreign.Type = "messagerie.reply-posted.v9"
	_, good := eventOf(t, eventspb.TypeReplyPosted, to)
	s.publish(t, garbage, nameless, foreign, good)
	s.settled(t, 2)
	for _, id := range []string{garbage.ID, nameless.ID} {
		if !strings.Contains(notifiertest.Logs(), id) {
			t.Errorf("event %s was set aside in silence", id)
		}
	}
}

// One trace from the call that caused the event to the call at the provider.
func TestTraceReachesTheProvider(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t)
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	event.TraceParent = traceparent
	s.publish(t, event)
	s.settled(t, 2)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, channel := range ledger.Channels {
		sent := s.providers.Accepted(string(channel))
		if len(sent) != 1 || !strings.Contains(sent[0].Header.Get("Traceparent"), id) {
			t.Fatalf("%s: the provider was called in another trace: %v", channel, sent)
		}
		notifiertest.Eventually(t, "the span is exported", func() bool {
			for _, span := range notifiertest.Spans() {
				if span.Name == "send "+string(channel) && span.SpanContext.TraceID().String() == id && span.Parent.IsValid() {
					return true
				}
			}
			return false
		})
	}
}

// SIGTERM: the call under way ends and is recorded, the rest goes back untouched.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Workers = 1
	release := make(chan struct{})
	s.providers.Answer(func(*providertest.Call, http.ResponseWriter) bool {
		<-release
		return false
	})
	began := make(chan struct{})
	var once sync.Once
	s.providers.Began = func() { once.Do(func() { close(began) }) }
	stop := s.start(t)
	for range 3 {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		s.publish(t, event)
	}
	select {
	case <-began:
	case <-time.After(notifiertest.Patience):
		t.Fatal("nothing was sent")
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	notifiertest.Eventually(t, "what was not begun is given back", func() bool {
		list, err := s.ledger.Waiting(t.Context())
		var leased int64
		for _, w := range list {
			if w.State == ledger.Sending {
				leased += w.Rows
			}
		}
		return err == nil && leased == 1
	})
	close(release)
	<-stopped
	var ended, waiting int
	err := s.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'accepted' AND attempts = 1),
		count(*) FILTER (WHERE state = 'planned' AND attempts = 0) FROM delivery`).Scan(&ended, &waiting)
	if err != nil || ended != 1 || ended+waiting < 2 {
		t.Errorf("%d accepted, %d planned (%v)", ended, waiting, err)
	}
}

// A process that was stopped for longer than its lease must not call: somebody
// else may have by now.
func TestNoCallOnAStaleLease(t *testing.T) {
	t.Parallel()
	var got []ledger.Outcome
	outcomes := batch.New(batch.Config[ledger.Outcome, struct{}]{Most: 2, Do: func(_ context.Context, outcomes []ledger.Outcome) ([]batch.Result[struct{}], error) {
		got = outcomes
		return make([]batch.Result[struct{}], len(outcomes)), nil
	}})
	l := &lane{channel: ledger.Email, done: &recorder{outcomes: outcomes, hard: t.Context(), patience: notifiertest.Patience}, deliver: func(context.Context, ledger.Delivery, *messagingpb.Recipient) provider.Answer {
		t.Error("a provider was called")
		return provider.Answer{}
	}}
	l.work(t.Context(), job{recipient: member("fr"), latest: time.Now().Add(-time.Millisecond)})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	outcomes.Run(ended)
	if len(got) != 1 || got[0].Reason != ledger.ReasonLeaseShort || !got[0].Uncounted || got[0].Class != "" {
		t.Errorf("%+v", got)
	}
}

// While nothing can be written, a sender holds its outcome for as long as it has something to
// say, and not beyond the end of a drain.
func TestRecorder_EndsItsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hard, cut := context.WithCancel(t.Context())
		defer cut()
		r := newRecorder(hard, nil, nil, 4*time.Minute)
		for range maxRecord {
			r.add(ledger.Outcome{})
		}
		began := time.Now()
		if r.add(ledger.Outcome{}); time.Since(began) != 4*time.Minute {
			t.Errorf("waited %s for room", time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(20*time.Second, cut)
		if r.add(ledger.Outcome{}); time.Since(began) != 20*time.Second {
			t.Errorf("waited %s, the drain ended after 20s", time.Since(began))
		}
	})
}

// The broker is away while the notifier starts, and wiped afterwards.
func TestBrokerAwayAndWiped(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.broker.Stop()
	s.start(t)
	s.broker.Start(t)
	_, first := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, first)
	s.settled(t, 2)
	s.broker.Stop()
	s.broker.Wipe(t)
	s.broker.Start(t)
	_, second := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, second)
	s.settled(t, 4)
	if n := len(s.providers.Accepted(providertest.Email)); n != 2 {
		t.Errorf("%d mails, want 2", n)
	}
}

func TestConfigReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := chassis.Load[Config]("NOTIFIER_", []string{
		"NOTIFIER_SENDGRID_FROM=nobody", "NOTIFIER_SENDGRID_FROM_NAME=\u202eMa messagerie", "NOTIFIER_SENDGRID_BASE_URL=ftp://x", "NOTIFIER_TWILIO_FROM=1", "NOTIFIER_TWILIO_MESSAGING_SERVICE_SID=2",
		"NOTIFIER_SITE_ADDRESS=https://messagerie.example.org", "NOTIFIER_WORKERS=501", "NOTIFIER_LEASE=29s", "NOTIFIER_AMBIGUITY_WAIT=0s", "NOTIFIER_POLL=0s",
		"NOTIFIER_RECONCILE_EVERY=-1s", "NOTIFIER_WEBHOOK_MAX_AGE=0s", "NOTIFIER_SENDGRID_WEBHOOK_KEY=AAAA", "NOTIFIER_SMTP_ADDR=relay",
	})
	if err == nil {
		t.Fatal("a configuration of faults was taken")
	}
	for _, want := range []string{
		"NOTIFIER_DATABASE_URL", "NOTIFIER_SENDGRID_API_KEY", "NOTIFIER_TWILIO_ACCOUNT_SID", "TOKEN_PATH", "SENDGRID_FROM", "SENDGRID_BASE_URL",
		"exactly one of TWILIO_FROM", "TWILIO_FROM is neither", "SENDGRID_FROM is not", "SENDGRID_FROM_NAME, which people are shown", "SITE_ADDRESS", "WORKERS", "LEASE", "AMBIGUITY_WAIT", "POLL",
		"NOTIFIER_ISSUERS", "RECONCILE_EVERY", "WEBHOOK_MAX_AGE", "SENDGRID_WEBHOOK_KEY is not a public key", "SMTP_ADDR",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word about %s in: %v", want, err)
		}
	}
	cfg, err := chassis.Load[Config]("NOTIFIER_", []string{
		"NOTIFIER_DATABASE_URL=postgres:///x", "NOTIFIER_TOKEN_PATH=/t", "NOTIFIER_SENDGRID_API_KEY=k", "NOTIFIER_SENDGRID_FROM=a@example.org",
		"NOTIFIER_TWILIO_ACCOUNT_SID=AC", "NOTIFIER_TWILIO_AUTH_TOKEN=t", "NOTIFIER_TWILIO_FROM=+33700000000", "NOTIFIER_SITE_ADDRESS=messagerie.example.org/msa",
		"NOTIFIER_NATS_URL=nats://n:4222", `NOTIFIER_ISSUERS=[{"url":"https://i.example.org","realm":"member","audiences":["m"]}]`,
	})
	if err != nil || cfg.Bus.URL != "nats://n:4222" || cfg.Lease != 45*time.Second {
		t.Errorf("a good configuration: %v, %+v", err, cfg.Bus)
	}
}

// What people see of a sender, and where they are sent, is checked as their own contact points are.
func TestConfig_Shown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		value string
		taken bool
	}{
		{"SENDGRID_FROM", "ne-pas-repondre@messagerie.example.org", true},
		{"SENDGRID_FROM", "Ma messagerie <a@example.org>", false},
		{"SENDGRID_FROM", "a@example", false},
		{"SENDGRID_FROM", "a@example.org\u200b", false},
		{"SENDGRID_FROM_NAME", "Caisse d’Armorique", true},
		{"SENDGRID_FROM_NAME", "Caisse\nBcc: a@example.org", false},
		{"SENDGRID_FROM_NAME", "\u2800", false},
		{"SENDGRID_FROM_NAME", strings.Repeat("é", 101), false},
		{"TWILIO_FROM", "+33639980000", true},
		{"TWILIO_FROM", "36100", true},
		{"TWILIO_FROM", "MSA", true},
		{"TWILIO_FROM", "Caisse MSA", true},
		{"TWILIO_FROM", "Caisse d’Armorique", false},
		{"TWILIO_FROM", "MSA ", false},
		{"TWILIO_FROM", "0639980000", false},
		{"SITE_ADDRESS", "messagerie.example.org/msa", true},
		{"SITE_ADDRESS", "localhost:8000", true},
		{"SITE_ADDRESS", "messagerie", false},
		{"SITE_ADDRESS", "messagerie..example.org", false},
		{"SITE_ADDRESS", "messagerie.example.orgg", false},
	} {
		settings := map[string]string{
			"DATABASE_URL": "postgres:///x", "TOKEN_PATH": "/t", "SENDGRID_API_KEY": "k", "SENDGRID_FROM": "a@example.org", "TWILIO_ACCOUNT_SID": "AC", "TWILIO_AUTH_TOKEN": "t",
			"TWILIO_FROM": "+33700000000", "SITE_ADDRESS": "messagerie.example.org", "NATS_URL": "nats://n:4222", "ISSUERS": `[{"url":"https://i.example.org","realm":"member","audiences":["m"]}]`,
		}
		settings[row.name] = row.value
		var environ []string
		for name, value := range settings {
			environ = append(environ, "NOTIFIER_"+name+"="+value)
		}
		if _, err := chassis.Load[Config]("NOTIFIER_", environ); (err == nil) != row.taken || err != nil && !strings.Contains(err.Error(), row.name) {
			t.Errorf("%s=%q: %v", row.name, row.value, err)
		}
	}
}

// member is a recipient whose every value is distinct, so that a test can tell
// which of them went where.
func member(locale string) *messagingpb.Recipient {
	return &messagingpb.Recipient{
		ConversationId: "0199f0c0-0000-7000-8000-000000000001",
		Email:          "canary.jeanne@example.org", Phone: "+33639980001", Locale: locale, Reference: "MSA-7K3D92QX",
		ReceiveTime: timestamppb.New(time.Date(2026, 11, 23, 13, 5, 0, 0, time.UTC)),
		Queue: &taxonomypb.Queue{
			Code: "famille", Label: "Service Famille & Logement", PostalAddress: "MSA d'Armorique\n3 rue Hervé de Guébriant\n29412 Landerneau Cedex",
			Phone: "02 98 85 79 79", Email: "famille@msa.example.org", AnswerDays: 5,
		},
	}
}
