package notifier

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/contact"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

const (
	// databaseTimeout bounds one statement of a sender.
	databaseTimeout = 5 * time.Second
	// recipientsTimeout bounds one question to the messaging service.
	recipientsTimeout = 5 * time.Second
	// maxBatch is the most recipients that can be asked for at once.
	maxBatch = 500
)

// lane sends the deliveries of one channel. Channels have a lane each, so that a
// provider that hangs takes only its own workers.
//
// One goroutine claims and fetches recipients while the workers send what was
// claimed before. A batch is at most one delivery for each worker, so a claimed
// delivery waits for at most one call before its own, which the lease allows for.
type lane struct {
	channel    ledger.Channel
	provider   string
	deliver    func(context.Context, ledger.Delivery, *messagingpb.Recipient) provider.Answer
	ledger     *ledger.Ledger
	policy     ledger.Doubts
	recipients messagingpb.RecipientServiceClient
	done       *recorder
	counts     *instruments
	// gates are those of the channel's providers; without any, all is open.
	gates []*provider.Gate

	workers     int
	lease       time.Duration
	callTimeout time.Duration
	poll        time.Duration
	hours       Hours
	woken       chan struct{}
	// faults thins out the log while our settings are refused.
	faults rate.Sometimes
}

// job is one delivery to send.
type job struct {
	delivery  ledger.Delivery
	recipient *messagingpb.Recipient
	// latest is when a call may still begin: it must end within the lease.
	latest time.Time
}

// wake makes the lane look at the ledger now.
func (l *lane) wake() {
	select {
	case l.woken <- struct{}{}:
	default: // it is going to look
	}
}

// run sends until ctx is done. It then gives back what it has not begun and
// waits for the calls under way.
func (l *lane) run(ctx context.Context) {
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range l.workers {
		workers.Go(func() {
			for j := range jobs {
				l.work(ctx, j)
			}
		})
	}
	for ctx.Err() == nil {
		if more := l.round(ctx, jobs); !more {
			l.rest(ctx)
		}
	}
	close(jobs)
	workers.Wait()
}

// rest waits until there may be something to do.
func (l *lane) rest(ctx context.Context) {
	timer := time.NewTimer(l.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.woken:
	case <-timer.C:
	}
}

// round claims and hands out one batch, and reports whether there is likely more.
func (l *lane) round(ctx context.Context, jobs chan<- job) (more bool) {
	latest := time.Now().Add(l.lease - l.callTimeout)
	size := l.room()
	if size == 0 {
		return false
	}
	// A claim that was cut off may have been committed all the same, and its
	// rows would then pass for sent.
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
	batch, err := l.ledger.Claim(claiming, l.channel, size, l.lease)
	cancel()
	if err != nil {
		slog.WarnContext(ctx, "claiming", "channel", l.channel, "error", err)
		return false
	}
	if len(batch) == 0 {
		return false
	}
	found, err := l.fetch(ctx, batch)
	if err != nil {
		slog.WarnContext(ctx, "fetching recipients", "channel", l.channel, "error", err)
		l.giveBack(batch, jittered(recipientsWait), ledger.ReasonRecipientsUnavailable)
		return false
	}
	now := l.postpone(batch, found)
	for i, d := range now {
		select {
		case jobs <- job{d, found[d.ConversationID], latest}:
		case <-ctx.Done():
			l.giveBack(now[i:], 0, ledger.ReasonStopping)
			return false
		}
	}
	return len(batch) == size
}

// room is how many deliveries are worth claiming, for want of a provider that can
// be called perhaps none.
func (l *lane) room() int {
	size := min(l.workers, maxBatch)
	if len(l.gates) == 0 {
		return size
	}
	room := 0
	for _, g := range l.gates {
		room = max(room, g.Room(size))
	}
	return room
}

// jittered is d, give or take half of it.
func jittered(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // spreads load, guards nothing
}

// postpone gives back the SMS that must wait for the day. One that nobody wishes, or that has
// no number to go to, ends now: nothing would be sent in the morning either.
func (l *lane) postpone(batch []ledger.Delivery, found map[uuid.UUID]*messagingpb.Recipient) (now []ledger.Delivery) {
	for _, d := range batch {
		to := found[d.ConversationID]
		if wished(d, to) && numberOf(to.GetPhone()) != "" {
			if wait, night := l.hours.quiet(d, to.GetPhone()); night {
				l.done.add(ledger.Postpone(d, wait))
				continue
			}
		}
		now = append(now, d)
	}
	return now
}

func (l *lane) giveBack(batch []ledger.Delivery, wait time.Duration, reason string) {
	for _, d := range batch {
		l.done.add(ledger.GiveBack(d, wait, reason))
	}
}

// fetch asks for the recipients of a batch. They are held only until the batch
// is sent.
func (l *lane) fetch(ctx context.Context, batch []ledger.Delivery) (map[uuid.UUID]*messagingpb.Recipient, error) {
	ctx, cancel := context.WithTimeout(ctx, recipientsTimeout)
	defer cancel()
	wanted := make(map[uuid.UUID]*messagingpb.Recipient, len(batch))
	req := &messagingpb.BatchGetRecipientsRequest{}
	for _, d := range batch {
		if _, asked := wanted[d.ConversationID]; !asked {
			wanted[d.ConversationID] = nil
			req.ConversationIds = append(req.ConversationIds, d.ConversationID.String())
		}
	}
	resp, err := l.recipients.BatchGetRecipients(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("asking for %d recipients: %w", len(wanted), err)
	}
	for _, recipient := range resp.GetRecipients() {
		if id, err := uuid.Parse(recipient.GetConversationId()); err == nil {
			wanted[id] = recipient
		}
	}
	return wanted, nil
}

// work sends one delivery and passes on what became of it.
func (l *lane) work(ctx context.Context, j job) {
	if ctx.Err() != nil {
		l.giveBack([]ledger.Delivery{j.delivery}, 0, ledger.ReasonStopping)
		return
	}
	if time.Now().After(j.latest) {
		// This process was stopped for a while, or its provider is slow
		// beyond its time-out.
		l.giveBack([]ledger.Delivery{j.delivery}, 0, ledger.ReasonLeaseShort)
		return
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": j.delivery.TraceContext})
	ctx, span := otel.Tracer(scope).Start(ctx, "send "+string(l.channel), trace.WithAttributes(
		attribute.String("messagerie.delivery", j.delivery.ID()), attribute.Int("messagerie.attempt", j.delivery.Attempts)))
	defer span.End()
	began := time.Now()
	result := l.send(ctx, j)
	if result.Provider == "" {
		result.Provider = l.provider
	}
	if result.Class != provider.Suppressed {
		// Nobody was called. Of replies most members want no SMS: counted as calls, those would
		// hide from the alerts that the provider fails.
		l.counts.call(ctx, l.channel, result.Provider, result.Class, time.Since(began))
	}
	span.SetAttributes(attribute.String("messagerie.outcome", string(result.Class)))
	if result.Class != provider.Accepted && result.Class != provider.Found && result.Class != provider.Suppressed {
		span.SetStatus(codes.Error, result.Reason)
	}
	l.report(ctx, j.delivery, result)
	l.done.add(ledger.Settle(j.delivery, result.Provider, result, l.policy))
}

// send makes the call. The end of the process does not cut it: it is given its
// time to learn what became of it.
func (l *lane) send(ctx context.Context, j job) (result provider.Answer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.callTimeout)
	defer cancel()
	if j.recipient == nil {
		return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonConversationUnknown}
	}
	return l.deliver(ctx, j.delivery, j.recipient)
}

// report logs what somebody may have to act upon.
func (l *lane) report(ctx context.Context, d ledger.Delivery, a provider.Answer) {
	log := slog.With("delivery", d.ID(), "attempt", d.Attempts, "provider", a.Provider, "status", a.Status, "reason", a.Reason)
	switch a.Class {
	case provider.ConfigFault:
		l.faults.Do(func() {
			log.ErrorContext(ctx, "provider refuses our settings: check its address, key and sender; deliveries wait")
		})
	case provider.Refused:
		log.WarnContext(ctx, "provider refused a delivery")
	case provider.Unknown:
		log.WarnContext(ctx, "provider may have taken a delivery")
	case provider.LookupFailed:
		log.WarnContext(ctx, "provider cannot be asked about a delivery that it may have taken; it waits")
	case provider.Found:
		log.InfoContext(ctx, "provider had taken a delivery that was in doubt")
	case provider.NotSent, provider.Suppressed, provider.Accepted, provider.Held:
		log.DebugContext(ctx, "delivery", "outcome", string(a.Class))
	}
}

// byMail delivers through a mailer.
func byMail(m provider.Mailer, c letter.Composer) func(context.Context, ledger.Delivery, *messagingpb.Recipient) provider.Answer {
	return func(ctx context.Context, d ledger.Delivery, to *messagingpb.Recipient) provider.Answer {
		if to.GetEmail() == "" {
			return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonNoEmail}
		}
		address := addressOf(to.GetEmail())
		if address == "" {
			return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonEmailInvalid}
		}
		message, err := c.Mail(d, to)
		if err != nil {
			return unrendered(ctx, d, err)
		}
		message.DeliveryID, message.To = d.ID(), address
		if found, settled := settleDoubt(ctx, d, m, message); settled {
			return found
		}
		return m.Mail(ctx, message)
	}
}

// wished reports whether the member wants to hear of that event on that channel, by what
// messaging says now. This alone decides it: a choice that was made after the event, and
// before the SMS leaves, counts.
func wished(d ledger.Delivery, to *messagingpb.Recipient) bool {
	switch {
	case d.Channel != ledger.SMS:
		return true
	case d.EventType == ledger.ReplyPosted:
		return to.GetSmsOnReply()
	case d.EventType == ledger.MessageSubmitted:
		return !to.GetNoSmsOnAcknowledgement()
	default:
		return false // nobody has said yes to it
	}
}

// byText delivers through a texter.
func byText(t provider.Texter, c letter.Composer) func(context.Context, ledger.Delivery, *messagingpb.Recipient) provider.Answer {
	return func(ctx context.Context, d ledger.Delivery, to *messagingpb.Recipient) provider.Answer {
		if !wished(d, to) {
			return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonNotWanted}
		}
		if to.GetPhone() == "" {
			return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonNoPhone}
		}
		number := numberOf(to.GetPhone())
		if number == "" {
			return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonPhoneInvalid}
		}
		message, err := c.Text(d, to)
		if err != nil {
			return unrendered(ctx, d, err)
		}
		message.DeliveryID, message.To = d.ID(), number
		if found, settled := settleDoubt(ctx, d, t, message); settled {
			return found
		}
		return t.Text(ctx, message)
	}
}

// clockSlack is how far a provider's clock may be behind ours without a message
// being looked for on the wrong day.
const clockSlack = time.Hour

// settleDoubt asks the provider about a delivery of which an earlier attempt may
// have arrived, if it is one that can be asked. It is settled, and must not be sent,
// unless the provider says that it does not have it.
//
// Asking takes at most half of the time that the call has, so that what is sent
// afterwards is not cut off for want of it.
func settleDoubt[M any](ctx context.Context, d ledger.Delivery, to any, message M) (found provider.Answer, settled bool) {
	asked, can := to.(provider.Finder[M])
	if d.Unknowns == 0 || !can {
		return provider.Answer{}, false
	}
	end, _ := ctx.Deadline() // lane.send has set one
	ctx, cancel := context.WithTimeout(ctx, time.Until(end)/2)
	defer cancel()
	found = asked.Find(ctx, message, d.OccurredAt.Add(-clockSlack))
	return found, found.Class != provider.NotSent
}

// unrendered ends a delivery that no repeat would help: its data does not fit
// the templates.
func unrendered(ctx context.Context, d ledger.Delivery, err error) provider.Answer {
	slog.ErrorContext(ctx, "rendering", "delivery", d.ID(), "error", err)
	return provider.Answer{Class: provider.Suppressed, Reason: ledger.ReasonRenderFailed}
}

// addressOf and numberOf are what is sent to, in the one form of both; empty for what is none.
func addressOf(email string) string {
	form, _ := contact.Email(email)
	return form
}

func numberOf(phone string) string {
	if number, err := contact.Phone(phone); err == nil && number.Mobile {
		return number.E164
	}
	return ""
}

// recorder writes outcomes to the ledger: whatever came while the last
// transaction was under way goes into the next, so one at a time costs what it
// must and a thousand a second cost little more.
type recorder struct {
	outcomes *batch.Group[ledger.Outcome, struct{}]
	ledger   *ledger.Ledger
	counts   *instruments
	// hard ends the wait for a database that is away, and patience an outcome's for room.
	hard     context.Context //nolint:containedctx // the end of the process
	patience time.Duration
}

const (
	maxRecord   = 500
	recordPause = 200 * time.Millisecond
)

// newRecorder keeps an outcome for as long as patience while the database is away. After
// it, the lapsed lease and its wait have said all that is left to say.
func newRecorder(hard context.Context, deliveries *ledger.Ledger, counts *instruments, patience time.Duration) *recorder {
	r := &recorder{ledger: deliveries, counts: counts, hard: hard, patience: patience}
	r.outcomes = batch.New(batch.Config[ledger.Outcome, struct{}]{Do: r.store, Most: maxRecord, Queue: maxRecord, Timeout: patience})
	return r
}

// add hands in an outcome, and waits for room: what cannot be written is not sent either.
// It waits no longer than patience, and while the process drains than that may take (hard).
// Then the outcome is lost, also of a delivery that was accepted: its lease lapses, it is in
// doubt, and after AmbiguityWait the provider is asked about it, by whichever process has it
// then. What was given back waits as long for nothing.
func (r *recorder) add(o ledger.Outcome) {
	ctx, cancel := context.WithTimeout(r.hard, r.patience)
	defer cancel()
	if err := r.outcomes.Post(ctx, o); err != nil {
		slog.Error("giving up an outcome: its delivery will pass for unknown", "delivery", o.Delivery.ID(), "error", err)
	}
}

// store writes a batch, as often as it takes.
func (r *recorder) store(ctx context.Context, outcomes []ledger.Outcome) ([]batch.Result[struct{}], error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.hard, cancel)()
	for {
		attempt, cancel := context.WithTimeout(ctx, databaseTimeout)
		late, err := r.ledger.Record(attempt, outcomes)
		cancel()
		if err == nil {
			r.counts.recorded(ctx, outcomes, late)
			return make([]batch.Result[struct{}], len(outcomes)), nil
		}
		slog.WarnContext(ctx, "recording outcomes", "outcomes", len(outcomes), "error", err)
		timer := time.NewTimer(recordPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			slog.ErrorContext(ctx, "giving up outcomes: their deliveries will pass for unknown", "outcomes", len(outcomes))
			return nil, err
		}
	}
}
