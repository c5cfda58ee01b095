package console

import (
	"context"
	"fmt"
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/hint"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// queuePage is the agents' list.
type queuePage struct {
	desk.Filter
	Conversations   []*messagingpb.Conversation
	Queues          []*messagingpb.AgentQueue
	Themes, Reasons []writing.Option
	// Next is the address of the next page; empty on the last.
	Next string
}

func (v *visitor) showQueue() error {
	page := queuePage{Filter: desk.FilterOf(v.R.Form)}
	list, err := v.agents.ListConversations(v.Ctx, page.Request(v.R.FormValue("suite")))
	if err != nil {
		return err
	}
	page.Conversations = list.GetConversations()
	if next := list.GetNextPageToken(); next != "" {
		page.Next = page.Page(next)
	}
	queues, err := v.agents.ListQueues(v.Ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return err
	}
	page.Queues = queues.GetQueues()
	page.Themes = v.Trees.Themes(v.Ctx)
	if page.Theme != "" {
		page.Reasons = v.Trees.Reasons(v.Ctx, page.Theme)
	}
	return v.Show(http.StatusOK, "queue", page)
}

func (v *visitor) setShortcuts() error {
	desk.SetShortcuts(v.W, v.R.PostFormValue("actifs") == "oui")
	return v.Redirect(desk.BackOf(v.R.PostFormValue("retour")))
}

// watchQueue sends an agent's pages what has changed.
func (v *visitor) watchQueue() error {
	return v.Stream(func(ctx context.Context) (func() (hint.Hint, error), error) {
		stream, err := v.watches.WatchConversations(ctx, &messagingpb.AgentServiceWatchConversationsRequest{})
		return func() (hint.Hint, error) {
			change, err := stream.Recv()
			return hint.Hint{Name: "queue", Data: fmt.Sprintf(`{"id":%q,"opened":%t}`, change.GetConversationId(), change.GetOpened())}, err
		}, err
	})
}
