package conversation

import (
	"context"
	"errors"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// ForMember reads a conversation in full, as its member sees it.
func ForMember(ctx context.Context, db postgres.Querier, keys *vault.Vault, view View, row *Row) (*messagingpb.Conversation, error) {
	messages, err := Messages(ctx, db, row.ID)
	if err != nil {
		return nil, err
	}
	return WithSteps(ctx, db, keys, view, row, messages)
}

// WithSteps opens the texts of a conversation and reads what happened to it.
func WithSteps(ctx context.Context, db postgres.Querier, keys *vault.Vault, view View, row *Row, messages []Message) (*messagingpb.Conversation, error) {
	full, err := WithMessages(ctx, keys, view, row, messages)
	if err != nil {
		return nil, err
	}
	full.Steps, err = stepsOf(ctx, db, row, messages)
	return full, err
}

// WithMessages opens the texts of a conversation; those of an erased one are empty.
func WithMessages(ctx context.Context, keys *vault.Vault, view View, row *Row, messages []Message) (*messagingpb.Conversation, error) {
	texts, err := TextsOf(ctx, keys, row)
	if errors.Is(err, vault.ErrErased) {
		full := view.Proto(row)
		full.Status, full.Erased = messagingpb.Status_CLOSED, true // its row may be yet to follow
		for i := range messages {
			full.Messages = append(full.Messages, view.Message(row, &messages[i], ""))
		}
		return full, nil
	}
	if err != nil {
		return nil, err
	}
	full := view.Proto(row)
	for i := range messages {
		m := &messages[i]
		body, err := texts.OpenMessage(m.ID, m.Author, m.Body)
		if err != nil {
			return nil, err
		}
		full.Messages = append(full.Messages, view.Message(row, m, body))
	}
	return full, nil
}

// TextsOf returns the key of a conversation; [vault.ErrErased] if it is erased.
func TextsOf(ctx context.Context, keys *vault.Vault, row *Row) (vault.Texts, error) {
	if row.ErasedAt != nil {
		return vault.Texts{}, vault.ErrErased
	}
	key, err := keys.Key(ctx, row.MemberID, row.KeyID)
	if err != nil {
		return vault.Texts{}, err
	}
	return key.Texts(row.ID)
}

// HeldTextsOf is TextsOf for a conversation that is locked: see [vault.Vault.Held].
func HeldTextsOf(keys *vault.Vault, row *Row) (vault.Texts, error) {
	if row.ErasedAt != nil {
		return vault.Texts{}, vault.ErrErased
	}
	key, err := keys.Held(row.MemberID, row.KeyID)
	if err != nil {
		return vault.Texts{}, err
	}
	return key.Texts(row.ID)
}
