package notifier

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// A call that begins at the last moment ends within the lease that was claimed for it.
func TestRound_CallsEndWithinTheLease(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	plans := planOf(ledger.Email)
	plans[0].ConversationID = uuid.MustParse(s.newcomer().GetConversationId())
	notifiertest.Plan(t, s.ledger, plans)
	messaging, err := rpc.Dial(s.cfg.MessagingAddr, s.cfg.TokenSource())
	if err != nil {
		t.Fatal(err)
	}
	defer messaging.Close()
	l := newLanes(s.cfg, nil, nil)[0]
	l.ledger, l.recipients = s.ledger, messagingpb.NewRecipientServiceClient(messaging)
	jobs := make(chan job, 1)
	began := time.Now()
	l.round(t.Context(), jobs)
	if len(jobs) != 1 {
		t.Fatal("nothing was claimed")
	}
	spare := s.cfg.Lease - s.cfg.CallTimeout
	if j := <-jobs; j.latest.Before(began.Add(spare)) || j.latest.After(time.Now().Add(spare)) {
		t.Errorf("the last call may begin after %s, want %s", j.latest.Sub(began), spare)
	}
}

// asked is a provider that notes by when it is to answer.
type asked struct{ until time.Time }

func (a *asked) Find(ctx context.Context, _ string, _ time.Time) provider.Answer {
	a.until, _ = ctx.Deadline()
	return provider.Answer{Class: provider.NotSent}
}

// Asking about a doubt leaves half of the time to send.
func TestSettleDoubt_LeavesTimeToSend(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a := &asked{}
	if _, settled := settleDoubt(ctx, ledger.Delivery{Unknowns: 1}, a, "words"); settled {
		t.Error("what the provider does not have is settled")
	}
	if left := time.Until(a.until); left > 30*time.Second || left < 20*time.Second {
		t.Errorf("asking may take %s of a minute", left)
	}
}

// What nobody has agreed to leaves by no SMS.
func TestWished(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		channel ledger.Channel
		event   ledger.EventType
		closing bool
		to      *messagingpb.Recipient
		want    bool
	}{
		"an acknowledgement":            {ledger.SMS, ledger.MessageSubmitted, false, &messagingpb.Recipient{}, true},
		"one that is not wanted":        {ledger.SMS, ledger.MessageSubmitted, false, &messagingpb.Recipient{NoSmsOnAcknowledgement: true}, false},
		"a reply":                       {ledger.SMS, ledger.ReplyPosted, false, &messagingpb.Recipient{}, false},
		"a reply, as chosen":            {ledger.SMS, ledger.ReplyPosted, false, &messagingpb.Recipient{SmsOnReply: true}, true},
		"a closing":                     {ledger.SMS, ledger.ReplyPosted, true, &messagingpb.Recipient{}, false},
		"a closing, as of replies":      {ledger.SMS, ledger.ReplyPosted, true, &messagingpb.Recipient{SmsOnReply: true}, true},
		"a mail about a reply":          {ledger.Email, ledger.ReplyPosted, false, &messagingpb.Recipient{}, true},
		"of an event that is not known": {ledger.SMS, "conversation-closed", false, &messagingpb.Recipient{SmsOnReply: true}, false},
	} {
		if got := wished(ledger.Delivery{Channel: row.channel, EventType: row.event, Closing: row.closing}, row.to); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
