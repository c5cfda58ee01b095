package render

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// Every step and delivery has its sentence, in both languages and for both readers.
func TestPages_Timeline(t *testing.T) {
	t.Parallel()
	for _, lang := range Languages {
		p := &Pages{Lang: lang}
		said := make(map[string]bool)
		for kind := range messagingpb.Step_Kind_name {
			if text := p.Step(messagingpb.Step_Kind(kind)); (text == "") != (kind == 0) || said[text] {
				t.Errorf("step %s: %q", messagingpb.Step_Kind(kind), text)
			} else {
				said[text] = true
			}
		}
		for state := range notifierpb.DeliveryState_name {
			mails := make(map[string]bool)
			for number := range notifierpb.Purpose_name {
				purpose := notifierpb.Purpose(number)
				if purpose == notifierpb.Purpose_PURPOSE_UNSPECIFIED {
					continue
				}
				// Every notification is an e-mail, and says which.
				mail := p.Delivery(&notifierpb.Delivery{State: notifierpb.DeliveryState(state), Purpose: purpose, Channel: notifierpb.Channel_EMAIL}, false)
				if mails[mail] && state != 0 {
					t.Errorf("%s of %s is told as another: %q", notifierpb.DeliveryState(state), purpose, mail)
				}
				mails[mail] = true
				for _, channel := range []notifierpb.Channel{notifierpb.Channel_EMAIL, notifierpb.Channel_SMS} {
					for _, toAgent := range []bool{false, true} {
						text := p.Delivery(&notifierpb.Delivery{State: notifierpb.DeliveryState(state), Purpose: purpose, Channel: channel}, toAgent)
						if (text == "") != (state == 0) || strings.Contains(text, "%!") || toAgent && (strings.Contains(text, "vous") || strings.Contains(text, "you")) {
							t.Errorf("%s of %s by %s: %q", notifierpb.DeliveryState(state), purpose, channel, text)
						}
					}
				}
			}
		}
	}
}

func TestPages_Writer(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 23, 9, 30, 0, 0, time.UTC)
	agent := func(name string) *messagingpb.Message {
		return &messagingpb.Message{Author: messagingpb.Author_AGENT, CreateTime: timestamppb.New(at), Writer: &messagingpb.Writer{Kind: messagingpb.Writer_AGENT, Name: name}}
	}
	member := &messagingpb.Message{Author: messagingpb.Author_MEMBER, Writer: &messagingpb.Writer{Kind: messagingpb.Writer_MEMBER}}
	machine := &messagingpb.Message{Author: messagingpb.Author_AGENT, Writer: &messagingpb.Writer{Kind: messagingpb.Writer_MACHINE, Name: "CRM"}}
	known := &messagingpb.Conversation{Queue: &messagingpb.Choice{Label: "Service famille"}, Member: &messagingpb.Member{Name: "Jeanne Martin"}}
	unknown := &messagingpb.Conversation{Queue: &messagingpb.Choice{Label: "Service famille"}}
	step := func(kind messagingpb.Step_Kind, time time.Time) *messagingpb.Conversation {
		return &messagingpb.Conversation{Queue: &messagingpb.Choice{Label: "Service famille"}, Steps: []*messagingpb.Step{{Kind: kind, Time: timestamppb.New(time)}}}
	}
	for name, row := range map[string]struct {
		c                *messagingpb.Conversation
		m                *messagingpb.Message
		toMember, toThem string
	}{
		"the member":            {known, member, "Vous", "Jeanne Martin"},
		"one without a name":    {unknown, member, "Vous", "L’adhérent"},
		"an agent":              {known, agent("Claire B."), "Claire B., Service famille", "Claire B."},
		"a service":             {known, agent("Service famille"), "Service famille", "Service famille"},
		"an agent without name": {known, agent(""), "Service famille", "Service famille"},
		"before writers":        {known, &messagingpb.Message{Author: messagingpb.Author_AGENT}, "Service famille", "Service famille"},
		"a machine":             {known, machine, "Réponse automatique\u00a0: CRM", "Réponse automatique\u00a0: CRM"},
		"before a transfer":     {step(messagingpb.Step_REDIRECTED, at), agent("Claire B."), "Claire B.", "Claire B."},
		"after a transfer":      {step(messagingpb.Step_REDIRECTED, at.Add(-time.Second)), agent("Claire B."), "Claire B., Service famille", "Claire B."},
		"before another step":   {step(messagingpb.Step_CLAIMED, at), agent("Claire B."), "Claire B., Service famille", "Claire B."},
	} {
		p := &Pages{Lang: "fr"}
		if got := p.Writer(row.c, row.m, false); got != row.toMember {
			t.Errorf("%s, to the member: %q", name, got)
		}
		if got := p.Writer(row.c, row.m, true); got != row.toThem {
			t.Errorf("%s, to an agent: %q", name, got)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	for waited, want := range map[time.Duration]string{
		-time.Second: "1\u00a0min", 0: "1\u00a0min", 59*time.Minute + 59*time.Second: "59\u00a0min", time.Hour: "1\u00a0h", 47*time.Hour + 59*time.Minute: "47\u00a0h", 51*time.Hour + 59*time.Minute: "2\u00a0j 3\u00a0h",
	} {
		if got := Wait(waited, "fr"); got != want {
			t.Errorf("%s: %s", waited, got)
		}
	}
	if got := Wait(49*time.Hour, "en"); got != "2\u00a0d 1\u00a0h" {
		t.Error(got)
	}
}
