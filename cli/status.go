package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// askTimeout bounds the question to one part; all are asked at once.
const askTimeout = 3 * time.Second

// Thresholds, those of deploy/prometheus/alerts.yaml. An alert that is critical there is BAD
// here, a warning is WATCH. The rules wait (`for:`) before they fire; this shows it at once.
const (
	outboxOld       = 60 * time.Second
	overdueMost     = 15 * time.Minute
	doubtsMost      = 100
	reconcileMost   = 3 * time.Minute
	failingShare    = 0.5
	queueOld        = 7 * 24 * time.Hour
	runbookNotReady = "process-not-ready"
)

// verdict is how well something is doing.
type verdict int

const (
	ok verdict = iota
	watch
	bad
)

func (v verdict) String() string { return [...]string{"OK", "WATCH", "BAD"}[v] }

// MarshalText implements encoding.TextMarshaler.
func (v verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// figure is one line about a part.
type figure struct {
	Name    string  `json:"name"`
	Verdict verdict `json:"verdict"`
	Text    string  `json:"text"`
	// Runbook is a page of docs/runbooks, without .md; empty when all is well.
	Runbook string `json:"runbook,omitempty"`
}

// part is one process.
type part struct {
	Name    string   `json:"name"`
	Verdict verdict  `json:"verdict"`
	Figures []figure `json:"figures"`
}

func (p *part) add(name string, v verdict, runbook, format string, args ...any) {
	if v == ok {
		runbook = ""
	}
	p.Verdict = max(p.Verdict, v)
	p.Figures = append(p.Figures, figure{name, v, fmt.Sprintf(format, args...), runbook})
}

// unreachable is what is known of a part that does not answer.
func (p *part) unreachable(err error) {
	p.add("process", bad, runbookNotReady, "no answer: %s", explain(err))
}

// worse is v if a condition holds, else ok.
func worse(when bool, v verdict) verdict {
	if when {
		return v
	}
	return ok
}

// errBad ends the command with status 1 and says nothing more.
var errBad = errors.New("something is BAD")

// showStatus is `messagerie status`.
type showStatus struct {
	Watch   time.Duration `help:"Refresh at this interval until interrupted; at least 1s."`
	NoColor string        `hidden:"" env:"NO_COLOR"`
}

// Run asks and shows, once or until interrupted.
func (c *showStatus) Run(s *session) error {
	if c.Watch != 0 && c.Watch < time.Second {
		return fmt.Errorf("%w: --watch must be at least 1s", errUsage)
	}
	var tick <-chan time.Time
	if c.Watch > 0 {
		ticker := time.NewTicker(c.Watch)
		defer ticker.Stop()
		tick = ticker.C
	}
	worst := ok
	for {
		parts, err := s.gather()
		if s.ctx.Err() != nil {
			break // interrupted: what came back means nothing
		}
		if err != nil {
			return err
		}
		worst = ok
		for _, p := range parts {
			worst = max(worst, p.Verdict)
		}
		if err := c.show(s, worst, parts); err != nil {
			return err
		}
		if tick == nil {
			break
		}
		select {
		case <-tick:
		case <-s.ctx.Done():
		}
	}
	if worst == bad {
		return errBad
	}
	return nil
}

// gather asks all parts at once. That a part does not answer is a line; that the
// caller may not ask is an error.
func (s *session) gather() ([]part, error) {
	asks := []struct {
		name string
		ask  func(context.Context, *session, *part) error
	}{{"gateway", askGateway}, {"taxonomy", askTaxonomy}, {"messaging", askMessaging}, {"notifier", askNotifier}}
	parts, faults := make([]part, len(asks)), make([]error, len(asks))
	var all sync.WaitGroup
	for i, a := range asks {
		parts[i].Name = a.name
		all.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
			defer cancel()
			if faults[i] = a.ask(ctx, s, &parts[i]); faults[i] != nil {
				parts[i].unreachable(faults[i])
			}
		})
	}
	all.Wait()
	for _, err := range faults {
		if code := status.Code(err); code == codes.PermissionDenied || code == codes.Unauthenticated {
			return nil, err
		}
	}
	return parts, nil
}

func askGateway(ctx context.Context, s *session, p *part) error {
	begun := time.Now()
	resp, err := healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	serving := resp.GetStatus() == healthpb.HealthCheckResponse_SERVING
	p.add("process", worse(!serving, bad), runbookNotReady, "%s, answers in %s",
		strings.ToLower(resp.GetStatus().String()), time.Since(begun).Round(time.Millisecond))
	return nil
}

func askTaxonomy(ctx context.Context, s *session, p *part) error {
	got, err := taxonomypb.NewOperatorServiceClient(s.conn).GetStatus(ctx, &taxonomypb.GetStatusRequest{})
	if err != nil {
		return err
	}
	p.build(got.GetBuildVersion(), got.GetSchemaVersion())
	p.add("taxonomy", ok, "", "version %d since %s", got.GetVersion(), local(got.GetPublishTime()))
	if !got.GetDatabaseReachable() {
		p.add("database", watch, "", "away; members are served from memory")
	}
	return nil
}

// build shows what runs.
func (p *part) build(version string, schema int64) {
	p.add("process", ok, "", "build %s, schema %d", orDash(version), schema)
}

func askMessaging(ctx context.Context, s *session, p *part) error {
	got, err := s.messaging.GetStatus(ctx, &messagingpb.GetStatusRequest{})
	if err != nil {
		return err
	}
	p.build(got.GetBuildVersion(), got.GetSchemaVersion())
	p.add("agents", worse(got.GetOldestUnansweredAge().AsDuration() > queueOld, watch), "queue-old", "%d wait, oldest without reply %s", got.GetWaitingConversations(), age(got.GetOldestUnansweredAge()))
	p.add("submissions", ok, "", "%d in 5 min, %d in 1 h; newest event %s", got.GetSubmissionsFiveMinutes(), got.GetSubmissionsHour(), age(got.GetNewestEventAge()))
	p.add("outbox", worse(got.GetOutboxAge().AsDuration() > outboxOld, bad), "outbox-old", "%d events, oldest %s", got.GetOutboxEvents(), age(got.GetOutboxAge()))
	if n := got.GetSetAsideEvents(); n > 0 {
		p.add("set aside", watch, "outbox-set-aside", "%d events that the broker refuses", n)
	}
	verdict, text := fitText(got.GetKeys())
	p.add("keys", verdict, "", "%s", text)
	p.add("retention", ok, "", "%d conversations purged in 1 day, %s due", got.GetPurgedConversationsDay(), upTo(got.GetDueConversations(), mostDue))
	p.broker(got.GetBrokerReachable())
	return nil
}

// mostDue is up to how many conversations messaging counts that are due.
const mostDue = 10_000

// upTo is a number that is counted no further than most.
func upTo(n, most int64) string {
	if n < most {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(most, 10) + " or more"
}

// broker is never BAD by itself: work that waits for the broker shows elsewhere as BAD once
// it has waited too long.
func (p *part) broker(reachable bool) {
	text := "answers"
	if !reachable {
		text = "does not answer"
	}
	p.add("broker", worse(!reachable, watch), "broker-away", "%s", text)
}

func askNotifier(ctx context.Context, s *session, p *part) error {
	got, err := notifierpb.NewOperatorServiceClient(s.conn).GetStatus(ctx, &notifierpb.GetStatusRequest{})
	if err != nil {
		return err
	}
	p.build(got.GetBuildVersion(), got.GetSchemaVersion())
	for _, w := range got.GetWaiting() {
		v, runbook := ok, ""
		switch {
		case w.GetState() != "sending" && w.GetOverdue().AsDuration() > overdueMost:
			v, runbook = bad, "deliveries-overdue"
		case w.GetState() == "unknown" && w.GetDeliveries() > doubtsMost:
			v, runbook = watch, "deliveries-in-doubt"
		}
		p.add(strings.ToLower(w.GetChannel().String()), v, runbook, "%d %s, overdue %s", w.GetDeliveries(), w.GetState(), age(w.GetOverdue()))
	}
	for _, each := range got.GetProviders() {
		p.provider(each, age(got.GetProviderWindow()))
	}
	p.add("deadletters", worse(got.GetDeadLetters() > 0, watch), "dead-letters", "%d not handled", got.GetDeadLetters())
	p.add("reconcile", worse(got.GetReconcileLag().AsDuration() > reconcileMost, bad), "reconcile-lag", "%s behind", age(got.GetReconcileLag()))
	p.broker(got.GetBrokerReachable())
	return nil
}

func (p *part) provider(each *notifierpb.ProviderStatus, window string) {
	v, runbook := ok, ""
	failing := each.GetCallsFiveMinutes() > 0 && float64(each.GetFailedFiveMinutes()) > failingShare*float64(each.GetCallsFiveMinutes())
	switch {
	case each.GetConfigFaultsTenMinutes() > 0:
		v, runbook = bad, "provider-refuses-us"
	case failing || each.GetBreakerOpen():
		v, runbook = bad, "provider-failing"
	}
	p.add(each.GetProvider(), v, runbook, "%d taken, %d refused, %d failed in %s%s", each.GetAccepted(), each.GetRefused(), each.GetFailed(), window,
		map[bool]string{true: "; breaker open"}[each.GetBreakerOpen()])
	p.add("  reports", ok, "", "newest %s", age(each.GetReportAge()))
}

// age is a duration in one or two units.
func age(d *durationpb.Duration) string {
	switch took := d.AsDuration(); {
	case d == nil:
		return "-"
	case took < time.Minute:
		return fmt.Sprintf("%d s", int(took.Seconds()))
	case took < time.Hour:
		return fmt.Sprintf("%d min", int(took.Minutes()))
	case took < 48*time.Hour:
		return fmt.Sprintf("%d h %02d", int(took.Hours()), int(took.Minutes())%60)
	default:
		return fmt.Sprintf("%d d", int(took.Hours())/24)
	}
}

// show writes the state once: in 80 columns, or as one line of JSON.
func (c *showStatus) show(s *session, worst verdict, parts []part) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(struct {
			Verdict verdict `json:"verdict"`
			Parts   []part  `json:"parts"`
		}{worst, parts})
	}
	screen := isTerminal(s.out)
	var page strings.Builder
	if screen && c.Watch > 0 {
		page.WriteString("\x1b[H\x1b[2J")
	}
	for _, p := range parts {
		write(&page, screen && c.NoColor == "", p)
	}
	_, err := io.WriteString(s.out, page.String())
	return err
}

// columns is the width that no line exceeds; text begins at textAt.
const (
	columns = 80
	textAt  = 23
)

func write(page *strings.Builder, colour bool, p part) {
	fmt.Fprintf(page, "%-15s %s\n", p.Name, paint(colour, p.Verdict))
	for _, f := range p.Figures {
		text := []rune(strings.Join(strings.Fields(f.Text), " "))
		if most := columns - textAt; len(text) > most {
			text = append(text[:most-1], '…')
		}
		fmt.Fprintf(page, "  %-13s %s %s\n", f.Name, paint(colour, f.Verdict), string(text))
		if f.Runbook != "" {
			fmt.Fprintf(page, "%*s docs/runbooks/%s.md\n", textAt-1, "", f.Runbook)
		}
	}
}

// paint is a verdict in a column of its own.
func paint(colour bool, v verdict) string {
	word := fmt.Sprintf("%-5s", v)
	if !colour {
		return word
	}
	return [...]string{"\x1b[32m", "\x1b[33m", "\x1b[1;31m"}[v] + word + "\x1b[0m"
}

func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	if !isFile {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
