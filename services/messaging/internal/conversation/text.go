package conversation

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// ForMember reads a conversation in full, as its member sees it.
func ForMember(ctx context.Context, db postgres.Querier, keys *vault.Vault, row *Row) (*messagingpb.Conversation, error) {
	messages, err := Messages(ctx, db, row.ID)
	if err != nil {
		return nil, err
	}
	return WithSteps(ctx, db, keys, row, messages)
}

// WithSteps opens the texts of a conversation and reads what happened to it.
func WithSteps(ctx context.Context, db postgres.Querier, keys *vault.Vault, row *Row, messages []Message) (*messagingpb.Conversation, error) {
	full, err := WithMessages(keys, row, messages)
	if err != nil {
		return nil, err
	}
	full.Steps, err = stepsOf(ctx, db, row, messages)
	return full, err
}

// WithMessages opens the texts of a conversation; those of an erased one are empty.
func WithMessages(keys *vault.Vault, row *Row, messages []Message) (*messagingpb.Conversation, error) {
	full := Proto(row)
	if row.ErasedAt != nil {
		for i := range messages {
			full.Messages = append(full.Messages, MessageProto(&messages[i], ""))
		}
		return full, nil
	}
	key, err := keys.Key(row.ID, row.DataKey)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		m := &messages[i]
		body, err := key.OpenMessage(m.ID, m.Author, m.Body)
		if err != nil {
			return nil, err
		}
		full.Messages = append(full.Messages, MessageProto(m, body))
	}
	return full, nil
}
