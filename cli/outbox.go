package cli

import (
	"fmt"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// listRefused is `messagerie outbox list`.
type listRefused struct {
	Limit int `default:"100" help:"How many to list at most."`
}

// Run lists, page after page.
func (c *listRefused) Run(s *session) error {
	if c.Limit < 1 {
		return fmt.Errorf("%w: --limit must be at least 1", errUsage)
	}
	out := s.table("ID", "HAPPENED", "REASON", "TRIES", "TRIED", "SET ASIDE", "EVENT", "CAISSE", "CONVERSATION")
	req := &messagingpb.ListRefusedEventsRequest{}
	for left := c.Limit; left > 0; {
		req.PageSize = int32(min(left, pageMost))
		resp, err := s.messaging.ListRefusedEvents(s.ctx, req)
		if err != nil {
			return err
		}
		for _, e := range resp.GetEvents() {
			out.row(e, e.GetId(), local(e.GetCreateTime()), e.GetReason(), fmt.Sprint(e.GetTries()), local(e.GetTryTime()), local(e.GetSetAsideTime()),
				e.GetType(), e.GetCaisse(), e.GetConversationId())
		}
		left -= len(resp.GetEvents())
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	return out.end()
}

// requeueRefused is `messagerie outbox requeue`.
type requeueRefused struct {
	IDs []string `arg:"" name:"id" optional:"" help:"Refused events, as list shows them."`
	All bool     `help:"All of them."`
}

// Run requeues and says how many.
func (c *requeueRefused) Run(s *session) error {
	if (len(c.IDs) == 0) != c.All {
		return fmt.Errorf("%w: say which: ids or --all", errUsage)
	}
	resp, err := s.messaging.RequeueRefusedEvents(s.ctx, &messagingpb.RequeueRefusedEventsRequest{Ids: c.IDs, All: c.All})
	if err != nil {
		return err
	}
	return s.say(resp, "events to be retried: %d\n", resp.GetRequeued())
}

// dropRefused is `messagerie outbox drop`.
type dropRefused struct {
	ID string `arg:"" help:"A refused event, as list shows it."`
}

// Run drops one.
func (c *dropRefused) Run(s *session) error {
	resp, err := s.messaging.DropRefusedEvent(s.ctx, &messagingpb.DropRefusedEventRequest{Id: c.ID})
	if err != nil {
		return err
	}
	return s.say(resp, "%s will not be published; the event log keeps it\n", c.ID)
}
