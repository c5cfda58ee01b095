package member

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// choices are the fields of Preferences that a member decides.
var choices = []protoreflect.Name{"email", "phone", "locale", "sms_on_acknowledgement", "sms_on_reply"}

// GetPreferences implements MessagingService. See the .proto.
func (m *Members) GetPreferences(ctx context.Context, _ *messagingpb.GetPreferencesRequest) (*messagingpb.GetPreferencesResponse, error) {
	preferences, err := m.preferencesOf(ctx, auth.FromContext(ctx))
	if err != nil {
		return nil, err
	}
	return &messagingpb.GetPreferencesResponse{Preferences: preferences}, nil
}

// preferencesOf reads the preferences of the caller, whose account is what the
// token says now.
func (m *Members) preferencesOf(ctx context.Context, id *auth.Identity) (*messagingpb.Preferences, error) {
	row, err := m.preferences(ctx, id.Subject)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	chosen, err := m.chosen(ctx, id.Subject, &row)
	if err != nil {
		return nil, err
	}
	return preferencesOf(&row, chosen, m.accountOf(id)), nil
}

// chosen opens the contact points of a member's own choice; what was erased is none.
func (m *Members) chosen(ctx context.Context, member string, row *preferenceRow) (vault.Contact, error) {
	if row.Chosen == nil {
		return vault.Contact{}, nil
	}
	key, err := m.Vault.Key(ctx, member, row.KeyID)
	if errors.Is(err, vault.ErrErased) {
		return vault.Contact{}, nil
	}
	if err != nil {
		return vault.Contact{}, err
	}
	return key.OpenContact(vault.FromMember, row.Chosen)
}

func preferencesOf(row *preferenceRow, chosen vault.Contact, account account) *messagingpb.Preferences {
	preferences := &messagingpb.Preferences{
		Email: chosen.Email, Phone: chosen.Phone, SmsOnAcknowledgement: !row.NoSMSOnAcknowledgement, SmsOnReply: row.SMSOnReply,
		AccountEmail: account.said.Email, AccountEmailFault: account.emailFault,
		AccountPhone: account.said.Phone, AccountPhoneFault: account.phoneFault, AccountLocale: account.locale,
	}
	if row.ChosenLocale != nil {
		preferences.Locale = *row.ChosenLocale
	}
	return preferences
}

// ReplacePreferences implements MessagingService.
func (m *Members) ReplacePreferences(ctx context.Context, req *messagingpb.ReplacePreferencesRequest) (*messagingpb.ReplacePreferencesResponse, error) {
	preferences, err := m.choose(ctx, req.GetPreferences(), choices)
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReplacePreferencesResponse{Preferences: preferences}, nil
}

// UpdatePreferences implements MessagingService. See the .proto.
func (m *Members) UpdatePreferences(ctx context.Context, req *messagingpb.UpdatePreferencesRequest) (*messagingpb.UpdatePreferencesResponse, error) {
	paths, err := chosenPaths(req)
	if err != nil {
		_, badChoice := m.checkChoices(req.GetPreferences(), choices)
		return nil, rpc.JoinFaults(badChoice, err)
	}
	preferences, err := m.choose(ctx, req.GetPreferences(), paths)
	if err != nil {
		return nil, err
	}
	return &messagingpb.UpdatePreferencesResponse{Preferences: preferences}, nil
}

// chosenPaths are the choices that an update is about.
func chosenPaths(req *messagingpb.UpdatePreferencesRequest) (paths []protoreflect.Name, err error) {
	if given := req.GetUpdateMask().GetPaths(); len(given) > 0 {
		for _, path := range given {
			switch name := protoreflect.Name(path); {
			case path == "*":
				paths = choices
			case slices.Contains(choices, name):
				paths = append(paths, name)
			default:
				return nil, rpc.Invalid("updateMask", errorpb.ErrorReason_FIELD_MASK_INVALID, "names what is no choice: email, phone, locale, smsOnAcknowledgement and smsOnReply are")
			}
		}
		return paths, nil
	}
	given := req.GetPreferences().ProtoReflect()
	for _, name := range choices {
		if given.Has(given.Descriptor().Fields().ByName(name)) {
			paths = append(paths, name)
		}
	}
	return paths, nil
}

// choose stores some of the choices that a member gives, and leaves the others as they are.
func (m *Members) choose(ctx context.Context, given *messagingpb.Preferences, paths []protoreflect.Name) (*messagingpb.Preferences, error) {
	id := auth.FromContext(ctx)
	wanted, err := m.checkChoices(given, paths)
	if err != nil {
		return nil, err
	}
	if err := m.SaveAccount(ctx, id); err != nil {
		return nil, err
	}
	var stored *messagingpb.Preferences
	err = m.changePreferences(ctx, id.Subject, func(row *preferenceRow) error {
		// SaveAccount has brought the key into memory: nobody is asked under the row's lock.
		key, err := m.Vault.Held(id.Subject, row.KeyID)
		if err != nil {
			return err
		}
		chosen, err := key.OpenContact(vault.FromMember, row.Chosen)
		if err != nil {
			return err
		}
		now := preferencesOf(row, chosen, m.accountOf(id))
		for _, name := range paths {
			field := now.ProtoReflect().Descriptor().Fields().ByName(name)
			now.ProtoReflect().Set(field, wanted.ProtoReflect().Get(field))
		}
		*row = preferenceRow{KeyID: row.KeyID, NoSMSOnAcknowledgement: !now.GetSmsOnAcknowledgement(), SMSOnReply: now.GetSmsOnReply()}
		if now.GetLocale() != "" {
			row.ChosenLocale = new(now.GetLocale())
		}
		if chosen = (vault.Contact{Email: now.GetEmail(), Phone: now.GetPhone()}); chosen != (vault.Contact{}) {
			row.Chosen, err = key.SealContact(vault.FromMember, chosen)
		}
		stored = now
		return err
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

// CheckWhole registers the checks that the calls make themselves, to run also for a request that
// breaks rules of its .proto: the caller gets all faults at once.
func (m *Members) CheckWhole(to *rpc.Server) {
	faults := func(given *messagingpb.Preferences) []rpc.Violation {
		if given == nil {
			return nil // which the rules say
		}
		_, err := m.checkChoices(given, []protoreflect.Name{"email", "phone"})
		return rpc.FaultsOf(err)
	}
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.ReplacePreferencesRequest) []rpc.Violation {
		return faults(req.GetPreferences())
	})
	rpc.AlsoCheck(to, func(_ context.Context, req *messagingpb.UpdatePreferencesRequest) []rpc.Violation {
		_, badMask := chosenPaths(req)
		return append(faults(req.GetPreferences()), rpc.FaultsOf(badMask)...)
	})
}

// checkChoices returns the choices in the form in which they are kept.
func (m *Members) checkChoices(given *messagingpb.Preferences, paths []protoreflect.Name) (*messagingpb.Preferences, error) {
	var bad []error
	wanted := proto.CloneOf(given)
	var fault *contact.Fault
	if plain.Blank(given.GetEmail()) {
		wanted.Email = ""
	} else if slices.Contains(paths, "email") {
		address, err := contact.Email(given.GetEmail())
		if errors.As(err, &fault) {
			bad = append(bad, rpc.Invalid("preferences.email", fault.Reason, fault.Hint))
		}
		wanted.Email = address
	}
	if plain.Blank(given.GetPhone()) {
		wanted.Phone = ""
	} else if slices.Contains(paths, "phone") {
		number, err := contact.Texted(given.GetPhone(), m.Texted)
		if errors.As(err, &fault) {
			bad = append(bad, rpc.Invalid("preferences.phone", fault.Reason, fault.Hint))
		}
		wanted.Phone = number.E164
	}
	return wanted, rpc.JoinFaults(bad...)
}

// preferenceRow is what a member chose, in the table member.
type preferenceRow struct {
	// KeyID is what Chosen is sealed by.
	KeyID                  uuid.UUID `db:"key_id"`
	Chosen                 []byte    `db:"chosen"`
	ChosenLocale           *string   `db:"chosen_locale"`
	NoSMSOnAcknowledgement bool      `db:"no_sms_on_acknowledgement"`
	SMSOnReply             bool      `db:"sms_on_reply"`
}

var preferenceColumns = postgres.Columns[preferenceRow]()

// preferences returns what a member chose; pgx.ErrNoRows when there is no such member.
func (m *Members) preferences(ctx context.Context, member string) (preferenceRow, error) {
	return postgres.One[preferenceRow](ctx, m.DB, "reading preferences", `SELECT `+preferenceColumns+` FROM member WHERE id = $1`, member)
}

// changePreferences changes what a member chose, with their row locked: two changes of
// different choices both hold. The member must be stored.
func (m *Members) changePreferences(ctx context.Context, member string, change func(*preferenceRow) error) error {
	err := pgx.BeginFunc(ctx, m.DB, func(tx pgx.Tx) error {
		row, err := postgres.One[preferenceRow](ctx, tx, "reading preferences", `SELECT `+preferenceColumns+` FROM member WHERE id = $1 FOR UPDATE`, member)
		if err != nil {
			return err
		}
		if err := change(&row); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE member SET chosen = $2, chosen_locale = $3, no_sms_on_acknowledgement = $4, sms_on_reply = $5, updated_at = now()
			WHERE id = $1 AND key_id = $6`, member, row.Chosen, row.ChosenLocale, row.NoSMSOnAcknowledgement, row.SMSOnReply, row.KeyID)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing preferences: %w", err)
	}
	return nil
}
