package conversation

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
)

// stepsOf is what happened to a conversation, oldest first: its messages, and of
// the agents' acts those that concern the member. A claim that is renewed is
// one step.
func stepsOf(ctx context.Context, db postgres.Querier, row *Row, messages []Message) ([]*messagingpb.Step, error) {
	acts, err := Acts(ctx, db, row.ID)
	if err != nil {
		return nil, err
	}
	var steps []*messagingpb.Step
	add := func(kind messagingpb.Step_Kind, at time.Time) {
		steps = append(steps, &messagingpb.Step{Kind: kind, Time: timestamppb.New(at)})
	}
	for i := range messages {
		switch {
		case i == 0:
			add(messagingpb.Step_RECEIVED, messages[i].CreatedAt)
		case messages[i].Author == int16(messagingpb.Author_MEMBER):
			add(messagingpb.Step_FOLLOWED_UP, messages[i].CreatedAt)
		default:
			add(messagingpb.Step_REPLIED, messages[i].CreatedAt)
		}
	}
	for _, act := range acts {
		if kind, ok := lifecycle.Step(act.Action); ok {
			add(kind, act.At)
		}
	}
	slices.SortStableFunc(steps, func(a, b *messagingpb.Step) int { return a.GetTime().AsTime().Compare(b.GetTime().AsTime()) })
	return slices.CompactFunc(steps, func(a, b *messagingpb.Step) bool {
		return a.GetKind() == b.GetKind() && a.GetKind() == messagingpb.Step_CLAIMED
	}), nil
}
