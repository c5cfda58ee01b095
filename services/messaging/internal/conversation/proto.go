package conversation

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Protos are rows as their member sees them in lists.
func (r Retention) Protos(rows []Row) []*messagingpb.Conversation {
	list := make([]*messagingpb.Conversation, len(rows))
	for i := range rows {
		list[i] = r.Proto(&rows[i])
	}
	return list
}

// Proto is a row as its member sees it, with until when it is kept.
func (r Retention) Proto(row *Row) *messagingpb.Conversation {
	shown := Proto(row)
	shown.ExpireTime = r.Expiry(row)
	return shown
}

// ExpectedDelay is within how long a conversation is answered, as its member was told; nil if
// they were not.
func ExpectedDelay(row *Row) *messagingpb.ExpectedDelay {
	if row.AnswerDays == 0 {
		return nil
	}
	return &messagingpb.ExpectedDelay{WorkingDays: int32(row.AnswerDays)}
}

// Proto is a row as its member sees it while it has not ended: without messages, and without
// which agent has it in hand.
func Proto(row *Row) *messagingpb.Conversation {
	return &messagingpb.Conversation{
		Id: row.ID.String(), Reference: row.Reference, Audience: Audience(row.Audience),
		Theme: Choice(row.Theme, row.ThemeLabel), Topic: Choice(row.Topic, row.TopicLabel), Reason: Choice(row.Reason, row.ReasonLabel),
		TaxonomyVersion: row.TaxonomyVersion, Status: messagingpb.Status(row.Status),
		Hidden: row.Hidden, Unread: row.Unread,
		CreateTime: timestamppb.New(row.CreatedAt), UpdateTime: timestamppb.New(row.UpdatedAt),
		Queue: Choice(row.Queue, row.QueueLabel), Erased: row.ErasedAt != nil,
		ExpectedDelay: ExpectedDelay(row),
	}
}

// View is how conversations are shown: until when they are kept, and by which names.
type View struct {
	Retention
	Names Names
}

// Message is a message of a conversation with its text in clear.
func (v View) Message(of *Row, message *Message, body string) *messagingpb.Message {
	return &messagingpb.Message{
		Id: message.ID.String(), Author: messagingpb.Author(message.Author), Text: body,
		CreateTime: timestamppb.New(message.CreatedAt), Writer: v.Names.writer(of, message), Final: message.Final,
	}
}

// Choice is a code with its label; nil for none.
func Choice(code, label string) *messagingpb.Choice {
	if code == "" {
		return nil
	}
	return &messagingpb.Choice{Code: code, Label: label}
}

// Audience is an audience as it is stored.
func Audience(stored int16) taxonomypb.Audience { return taxonomypb.Audience(stored) }
