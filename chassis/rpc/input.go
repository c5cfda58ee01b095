package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	inputpb "github.com/ma-messagerie/messagerie/proto/messagerie/input/v1"
)

// input checks each request before its handler sees it: first that it could be decoded (for
// one that could be decoded in part, see MarkUnread), then the characters of its strings (see
// input.proto) and that its times are valid, then its own rules.
type input struct {
	validator protovalidate.Validator
	// checks are further ones, by message type: those of a handler that need more than the
	// message. They run if the message has faults, so that all are reported at once.
	checks map[protoreflect.FullName]func(context.Context, proto.Message) []Violation
	// lines are, by message type, the fields that lineFaults has to look at.
	lines sync.Map // of protoreflect.FullName to []protoreflect.FieldDescriptor
}

// errUnreadable is the refusal of bytes that are not a message of the method's type, or
// contain a string that is not UTF-8.
var errUnreadable = Refuse(codes.InvalidArgument, errorpb.ErrorReason_REQUEST_MALFORMED, "the request cannot be decoded: it is not the method's message, or a string in it is not UTF-8")

func (in *input) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := in.check(ctx, req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (in *input) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, &checkedStream{stream, in})
}

// checkedStream checks what a stream's caller sends.
type checkedStream struct {
	grpc.ServerStream
	input *input
}

func (s *checkedStream) RecvMsg(msg any) error {
	if err := s.ServerStream.RecvMsg(msg); err != nil {
		return err
	}
	return s.input.check(s.Context(), msg)
}

func (in *input) check(ctx context.Context, req any) error {
	msg, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	var unread []Violation
	if isUnreadable(msg) {
		if unread = unreadOf(ctx); len(unread) == 0 {
			return errUnreadable
		}
		msg.ProtoReflect().SetUnknown(nil)
	}
	badKey, _ := ctx.Value(keyContext{}).(error)
	faults := in.lineFaults(msg.ProtoReflect(), "", slices.Concat(unread, FaultsOf(badKey)))
	if err := in.validator.Validate(msg); err != nil {
		var broken *protovalidate.ValidationError
		if !errors.As(err, &broken) {
			return fmt.Errorf("validating a request: %w", err)
		}
		for _, v := range broken.Violations {
			faults = addFault(faults, ruleFault(v))
		}
	}
	if list, ok := req.(ListRequest); ok && len(faults) > 0 && !blursFilters(unread) {
		_, badToken := PageKey(ctx, list)
		for _, fault := range FaultsOf(badToken) {
			faults = addFault(faults, fault)
		}
	}
	if check, ok := in.checks[msg.ProtoReflect().Descriptor().FullName()]; ok && len(faults) > 0 {
		for _, fault := range check(ctx, msg) {
			faults = addFault(faults, fault)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return InvalidAll(faults)
}

// addFault appends a fault of a field, unless the field or what contains it has one already,
// from which the new one follows.
func addFault(faults []Violation, fault Violation) []Violation {
	if len(faults) >= maxFaults || slices.ContainsFunc(faults, func(v Violation) bool {
		return v.Field == fault.Field || strings.HasPrefix(fault.Field, v.Field+".")
	}) {
		return faults
	}
	return append(faults, fault)
}

// maxFaults bounds a refusal, whose length the caller could otherwise choose.
const maxFaults = 20

// lineFaults appends the fields whose strings break the rule; path is that of the
// message, empty or ending in a full stop.
func (in *input) lineFaults(msg protoreflect.Message, path string, faults []Violation) []Violation {
	for _, field := range in.linesOf(msg.Descriptor()) {
		if !msg.Has(field) {
			continue
		}
		name, value := path+field.JSONName(), msg.Get(field)
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
				faults = in.valueFaults(field.MapKey(), key.Value(), name, faults)
				faults = in.valueFaults(field.MapValue(), value, name, faults)
				return true
			})
		case field.IsList():
			for i := range value.List().Len() {
				faults = in.valueFaults(field, value.List().Get(i), name, faults)
			}
		default:
			faults = in.valueFaults(field, value, name, faults)
		}
	}
	return faults
}

// valueFaults looks at one value of a field. A list names its field once.
func (in *input) valueFaults(field protoreflect.FieldDescriptor, value protoreflect.Value, name string, faults []Violation) []Violation {
	if len(faults) == maxFaults {
		return faults
	}
	if field.Message() != nil {
		if moment, ok := value.Message().Interface().(interface{ CheckValid() error }); ok {
			if moment.CheckValid() != nil {
				faults = addFault(faults, momentFault(field, name))
			}
			return faults
		}
		return in.lineFaults(value.Message(), name+".", faults)
	}
	if field.Kind() != protoreflect.StringKind || plain.Is(value.String()) {
		return faults
	}
	return addFault(faults, Violation{
		Field: name, Reason: errorpb.ErrorReason_CONTROL_CHARACTERS,
		Description: "may not contain control characters, line separators or bidirectional overrides",
	})
}

// momentFault is the fault of an invalid time or duration: JSON cannot write it, and
// databases cannot compare with it.
func momentFault(field protoreflect.FieldDescriptor, name string) Violation {
	fault := Violation{Field: name, Reason: errorpb.ErrorReason_TIMESTAMP_INVALID, Description: "must lie within the years 1 to 9999, with 0 to 999999999 nanoseconds"}
	if field.Message().Name() == "Duration" {
		fault.Reason, fault.Description = errorpb.ErrorReason_DURATION_INVALID, "must be at most 10000 years, with seconds and nanoseconds of one sign"
	}
	return fault
}

// linesOf returns the fields of a message type that may hold a single-line string,
// themselves or in a nested message.
func (in *input) linesOf(typ protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if known, ok := in.lines.Load(typ.FullName()); ok {
		list, _ := known.([]protoreflect.FieldDescriptor)
		return list
	}
	var list []protoreflect.FieldDescriptor
	for i := range typ.Fields().Len() {
		field := typ.Fields().Get(i)
		// A map's field has the message of its entries.
		if field.Message() != nil || field.Kind() == protoreflect.StringKind && !isFreeText(field) {
			list = append(list, field)
		}
	}
	in.lines.Store(typ.FullName(), list)
	return list
}

func isFreeText(field protoreflect.FieldDescriptor) bool {
	free, _ := proto.GetExtension(field.Options(), inputpb.E_FreeText).(bool)
	return free
}

// codec is protobuf's, except for bytes that it cannot decode. gRPC decodes a request
// before any interceptor and reports such bytes as its own internal error; here the message
// is marked instead, and input refuses it as the caller's fault.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if msg, ok := v.(proto.Message); ok && err != nil {
		proto.Reset(msg)
		msg.ProtoReflect().SetUnknown(unreadable)
		return nil
	}
	return err
}

// unreadable marks such a message: a field that no message type has. A caller who sends it is
// refused, too.
var unreadable = protoreflect.RawFields(protowire.AppendVarint(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.VarintType), 1))

func isUnreadable(msg proto.Message) bool {
	return string(msg.ProtoReflect().GetUnknown()) == string(unreadable)
}

// ruleReasons are the reasons of protovalidate's rules, by their ids; those not named here are
// VALUE_INVALID.
var ruleReasons = map[string]errorpb.ErrorReason{
	"required":           errorpb.ErrorReason_REQUIRED,
	"message.oneof":      errorpb.ErrorReason_REQUIRED,
	"enum.defined_only":  errorpb.ErrorReason_VALUE_UNKNOWN,
	"enum.in":            errorpb.ErrorReason_VALUE_UNKNOWN,
	"enum.not_in":        errorpb.ErrorReason_REQUIRED, // the zero value alone is forbidden
	"string.in":          errorpb.ErrorReason_VALUE_UNKNOWN,
	"string.min_len":     errorpb.ErrorReason_TOO_SHORT,
	"string.max_len":     errorpb.ErrorReason_TOO_LONG,
	"bytes.max_len":      errorpb.ErrorReason_TOO_LONG,
	"string.uuid":        errorpb.ErrorReason_UUID_INVALID,
	"string.uuid_empty":  errorpb.ErrorReason_REQUIRED,
	"string.pattern":     errorpb.ErrorReason_FORMAT_INVALID,
	"repeated.min_items": errorpb.ErrorReason_TOO_FEW,
	"repeated.max_items": errorpb.ErrorReason_TOO_MANY,
	"repeated.unique":    errorpb.ErrorReason_NOT_UNIQUE,
	"bool.const":         errorpb.ErrorReason_CONFIRMATION_REQUIRED,
	"int32.gte":          errorpb.ErrorReason_OUT_OF_RANGE,
	"int32.gte_lte":      errorpb.ErrorReason_OUT_OF_RANGE,
	"int32.gt":           errorpb.ErrorReason_OUT_OF_RANGE,
	"int32.lte":          errorpb.ErrorReason_OUT_OF_RANGE,
}

// ruleFault turns a fault that protovalidate found into our own form.
func ruleFault(v *protovalidate.Violation) Violation {
	id := v.Proto.GetRuleId()
	fault := Violation{Field: jsonPath(v), Reason: errorpb.ErrorReason_VALUE_INVALID, Description: v.Proto.GetMessage()}
	if reason, ok := ruleReasons[id]; ok {
		fault.Reason = reason
	}
	switch fault.Reason { //nolint:exhaustive // the others have no limit
	case errorpb.ErrorReason_TOO_SHORT, errorpb.ErrorReason_TOO_LONG, errorpb.ErrorReason_TOO_FEW, errorpb.ErrorReason_TOO_MANY:
		fault.Metadata = map[string]string{"limit": v.RuleValue.String()}
	}
	if fault.Reason == errorpb.ErrorReason_TOO_SHORT && v.FieldValue.String() == "" {
		fault.Reason = errorpb.ErrorReason_REQUIRED
	}
	return fault
}

// jsonPath is the field's name in the API documentation, in camelCase.
func jsonPath(v *protovalidate.Violation) string {
	var path []string
	for _, element := range v.Proto.GetField().GetElements() {
		path = append(path, lowerCamel(element.GetFieldName()))
	}
	return strings.Join(path, ".")
}

func lowerCamel(name string) string {
	words := strings.Split(name, "_")
	for i, word := range words[1:] {
		if word != "" {
			words[i+1] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return strings.Join(words, "")
}
