package agent

import (
	"context"
	"errors"
	"log/slog"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// memberOf is who has written a conversation, by their account as it was when they last wrote;
// nil if nothing is stored of them any more, or their key is gone: the conversation is read all
// the same.
func (s *Server) memberOf(ctx context.Context, of *conversation.Full) (*messagingpb.Member, error) {
	if of.Account == nil {
		return nil, nil //nolint:nilnil // documented above
	}
	key, err := s.Vault.Key(ctx, of.MemberID, of.Account.KeyID)
	switch {
	case errors.Is(err, vault.ErrErased):
		return nil, nil //nolint:nilnil // documented above
	case errors.Is(err, vault.ErrLost), errors.Is(err, vault.ErrUnopened):
		slog.ErrorContext(ctx, "nobody knows who has written a conversation", "conversation", of.ID, "error", err)
		return nil, nil //nolint:nilnil // documented above
	case err != nil:
		return nil, err
	}
	account, err := key.OpenAccount(of.Account.Contact)
	if err != nil {
		return nil, err
	}
	chosen, err := key.OpenContact(vault.FromMember, of.Account.Chosen)
	if err != nil {
		return nil, err
	}
	return &messagingpb.Member{
		Name: account.Name, Number: account.Number, Profile: conversation.Audience(of.Audience),
		Email: contactBy(chosen.Email, account.Email), Phone: contactBy(chosen.Phone, account.Phone),
	}, nil
}

// contactBy says where a contact point comes from: the member's choice counts first.
func contactBy(chosen, account string) messagingpb.Member_Contact {
	switch {
	case chosen != "":
		return messagingpb.Member_CHOSEN
	case account != "":
		return messagingpb.Member_ACCOUNT
	}
	return messagingpb.Member_ABSENT
}
