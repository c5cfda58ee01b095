package stream

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

// The answers of a finite stream make one JSON document, by default. It is written as they
// come and never buffered; when they break off, the connection is cut, and the document is
// incomplete.

// Part is a member of a document: one kind of the service's pieces.
type Part struct {
	// Piece is the field of the answer's oneof, Name the document's member.
	Piece protoreflect.Name
	Name  string
	// Many: the member is a list of pieces, empty where there are none. Else there is one
	// piece at most.
	Many bool
}

// documents are the parts of each document, in the order in which its service sends them.
var documents = map[string][]Part{
	messagingpb.MessagingService_ExportMyData_FullMethodName: {
		{"preferences", "preferences", false},
		{"draft", "drafts", true},
		{"conversation", "conversations", true},
	},
}

// Parts are those of a method's document, in their order; none if it has no document.
func Parts(method string) []Part { return documents[method] }

// CheckDocument finds kinds of pieces that a document has no part for.
func CheckDocument(rt *route.Route) error {
	parts := documents[rt.Method]
	if parts == nil {
		return nil
	}
	fields := rt.Output.Descriptor().Fields()
	for i := range fields.Len() {
		if partOf(parts, fields.Get(i).Name()) < 0 {
			return fmt.Errorf("method %s: its document has no part for %s", rt.Method, fields.Get(i).Name())
		}
	}
	return nil
}

func partOf(parts []Part, piece protoreflect.Name) int {
	for i, p := range parts {
		if p.Piece == piece {
			return i
		}
	}
	return -1
}

var errDisorder = errors.New("a piece of a document came after those of a later part")

// document is application/json.
type document struct {
	parts []Part
	// next is the part after the one that is being written.
	next int
	// any: a member has been written; inList: it is a list, and open.
	any, inList bool
}

func (d *document) open() []byte       { return []byte("{") }
func (d *document) alive() []byte      { return nil }
func (d *document) fail([]byte) []byte { return nil }

func (d *document) close() []byte {
	return append(d.skip(nil, len(d.parts)), "}\n"...)
}

// answer writes a piece. One of an unknown kind, from a newer service, is left out, as unknown
// fields are.
func (d *document) answer(message proto.Message) (text []byte, err error) {
	message.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		i := partOf(d.parts, field.Name())
		if d.inList && i == d.next-1 {
			text = append(text, ",\n"...)
		} else if text, err = d.begin(text, i); err != nil {
			return false
		}
		text, err = answer.JSON.MarshalAppend(text, value.Message().Interface())
		return false // a piece is one of the kinds
	})
	return text, err
}

// begin begins a part.
func (d *document) begin(text []byte, i int) ([]byte, error) {
	if i < d.next {
		return nil, errDisorder
	}
	text = d.name(d.skip(text, i), i)
	d.next = i + 1
	if d.parts[i].Many {
		d.inList = true
		text = append(text, '[')
	}
	return text, nil
}

// skip ends the part before, and those of which there are no pieces.
func (d *document) skip(text []byte, i int) []byte {
	if d.inList {
		d.inList = false
		text = append(text, ']')
	}
	for ; d.next < i; d.next++ {
		if d.parts[d.next].Many {
			text = append(d.name(text, d.next), "[]"...)
		}
	}
	return text
}

func (d *document) name(text []byte, i int) []byte {
	if d.any {
		text = append(text, ",\n"...)
	}
	d.any = true
	return fmt.Appendf(text, "%q:", d.parts[i].Name)
}
