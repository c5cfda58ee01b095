package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// pageMost is the most that the API returns at once.
const pageMost = 100

// selection narrows dead letters.
type selection struct {
	Kind     string `enum:",delivery,event" default:"" help:"delivery or event."`
	Channel  string `enum:",email,sms" default:"" help:"email or sms."`
	Reason   string `help:"A reason, such as HTTP_400."`
	Provider string `help:"A provider: sendgrid, smtp or twilio."`
}

func (s selection) kind() notifierpb.DeadLetterKind {
	return notifierpb.DeadLetterKind(notifierpb.DeadLetterKind_value[strings.ToUpper(s.Kind)])
}

func (s selection) channel() notifierpb.Channel {
	return notifierpb.Channel(notifierpb.Channel_value[strings.ToUpper(s.Channel)])
}

// listLetters is `messagerie deadletter list`.
type listLetters struct {
	selection
	Limit int `default:"100" help:"How many to list at most."`
}

// Run lists, page after page.
func (c *listLetters) Run(s *session) error {
	if c.Limit < 1 {
		return fmt.Errorf("%w: --limit must be at least 1", errUsage)
	}
	out := s.table("ID", "ENDED", "STATE", "REASON", "PROVIDER", "TRIES", "EVENT", "CONVERSATION")
	req := &notifierpb.ListDeadLettersRequest{Kind: c.kind(), Channel: c.channel(), Reason: c.Reason, Provider: c.Provider}
	for left := c.Limit; left > 0; {
		req.PageSize = int32(min(left, pageMost))
		resp, err := s.notifier.ListDeadLetters(s.ctx, req)
		if err != nil {
			return err
		}
		for _, l := range resp.GetDeadLetters() {
			out.row(l, l.GetId(), local(l.GetEndTime()), orDash(state(l.GetState())), l.GetReason(), orDash(l.GetProvider()),
				fmt.Sprint(l.GetAttempts()), orDash(l.GetEventType()), orDash(l.GetConversationId()))
		}
		left -= len(resp.GetDeadLetters())
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	return out.end()
}

// replayLetters is `messagerie deadletter replay`.
type replayLetters struct {
	IDs []string `arg:"" name:"id" optional:"" help:"Dead letters, as list shows them."`
	selection
	Since  time.Time `help:"Those that ended at this time or later (RFC 3339)." format:"2006-01-02T15:04:05Z07:00"`
	Until  time.Time `help:"Those that ended before this time (RFC 3339)." format:"2006-01-02T15:04:05Z07:00"`
	All    bool      `help:"All of them."`
	DryRun bool      `help:"Only count."`
}

// Run replays and says how many.
func (c *replayLetters) Run(s *session) error {
	narrowed := c.selection != selection{} || !c.Since.IsZero() || !c.Until.IsZero()
	switch {
	case len(c.IDs) == 0 && !narrowed && !c.All:
		return fmt.Errorf("%w: say which: ids, --reason and the like, or --all", errUsage)
	case len(c.IDs) > 0 && (narrowed || c.All), narrowed && c.All:
		return fmt.Errorf("%w: give ids, a selection or --all, but only one of these", errUsage)
	}
	req := &notifierpb.ReplayDeadLettersRequest{Ids: c.IDs, DryRun: c.DryRun}
	if len(c.IDs) == 0 {
		req.Filter = &notifierpb.DeadLetterFilter{Kind: c.kind(), Channel: c.channel(), Reason: c.Reason, Provider: c.Provider}
		if !c.Since.IsZero() {
			req.Filter.EndedFrom = timestamppb.New(c.Since)
		}
		if !c.Until.IsZero() {
			req.Filter.EndedBefore = timestamppb.New(c.Until)
		}
	}
	resp, err := s.notifier.ReplayDeadLetters(s.ctx, req)
	if err != nil {
		return err
	}
	text := "dead letters to be retried: %d\n"
	if c.DryRun {
		text = "dead letters that would be retried: %d\n"
	}
	return s.say(resp, text, resp.GetReplayed())
}

// dropLetter is `messagerie deadletter drop`.
type dropLetter struct {
	ID   string `arg:"" help:"A dead letter, as list shows it."`
	Note string `required:"" help:"Why, for whoever asks later. No personal data."`
}

// Run drops one.
func (c *dropLetter) Run(s *session) error {
	resp, err := s.notifier.DropDeadLetter(s.ctx, &notifierpb.DropDeadLetterRequest{Id: c.ID, Note: c.Note})
	if err != nil {
		return err
	}
	return s.say(resp, "%s is off the list\n", c.ID)
}

// listDeliveries is `messagerie delivery list`.
type listDeliveries struct {
	Conversation string `arg:"" help:"The conversation's id."`
}

// Run lists them.
func (c *listDeliveries) Run(s *session) error {
	resp, err := s.timelines.ListDeliveries(s.ctx, &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: c.Conversation})
	if err != nil {
		return err
	}
	out := s.table("CHANNEL", "ABOUT", "STATE", "REASON", "SINCE")
	for _, d := range resp.GetDeliveries() {
		out.row(d, strings.ToLower(d.GetChannel().String()), strings.ToLower(d.GetPurpose().String()), state(d.GetState()), orDash(d.GetReason()), local(d.GetUpdateTime()))
	}
	return out.end()
}

// table writes rows under a heading, or JSON lines.
type table struct {
	*session
	columns *tabwriter.Writer
	err     error
}

func (s *session) table(heading ...string) *table {
	t := &table{session: s, columns: tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)}
	if !s.json {
		_, t.err = fmt.Fprintln(t.columns, strings.Join(heading, "\t"))
	}
	return t
}

func (t *table) row(m proto.Message, cells ...string) {
	if t.err != nil {
		return
	}
	if t.json {
		t.err = t.say(m, "")
		return
	}
	_, t.err = fmt.Fprintln(t.columns, strings.Join(cells, "\t"))
}

func (t *table) end() error {
	if t.err != nil {
		return t.err
	}
	return t.columns.Flush()
}

// say writes an answer, as JSON with --json, else as text.
func (s *session) say(m proto.Message, format string, args ...any) error {
	if !s.json {
		_, err := fmt.Fprintf(s.out, format, args...)
		return err
	}
	line, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", line)
	return err
}

func state(s notifierpb.DeliveryState) string {
	if s == notifierpb.DeliveryState_DELIVERY_STATE_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(s.String())
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func local(at *timestamppb.Timestamp) string {
	if at == nil {
		return "-"
	}
	return at.AsTime().UTC().Format("2006-01-02 15:04:05Z")
}
