package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/door"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/route"
)

var (
	errNotJSON = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_MEDIA_TYPE_UNSUPPORTED,
		"send the body as JSON in UTF-8, not compressed, with the header Content-Type: application/json (curl: -H 'Content-Type: application/json')")
	errUnreadable = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_BODY_UNREADABLE, "the connection broke, or was too slow, before the body was whole")
)

// body is a request's whole JSON. It carries the decoder's refusal to where the answer is
// written, because the generated code in between keeps only its text.
type body struct {
	data    []byte
	rest    *bytes.Reader
	call    *door.Call
	refusal error
}

// readBody reads a request's body, for as long as the connection's read deadline
// allows.
func readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	if r.ContentLength > door.MaxRequestBytes {
		return nil, door.ErrTooLarge // a caller that waits for "100 Continue" need not send it
	}
	var buf bytes.Buffer
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, door.MaxRequestBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, door.ErrTooLarge
	case err != nil:
		return nil, errUnreadable.Because(err)
	case buf.Len() > 0 && !isJSON(r.Header):
		return nil, errNotJSON
	}
	return &body{data: buf.Bytes(), rest: bytes.NewReader(buf.Bytes())}, nil
}

func (b *body) Read(p []byte) (int, error) { return b.rest.Read(p) }
func (*body) Close() error                 { return nil }

// strictJSON is the JSON of the REST side. What it writes: names in camelCase,
// enums by name, false, 0, "" and [] shown, absent messages left out. What it
// reads: one object in UTF-8, without unknown or repeated names, lone surrogates
// or anything after it.
type strictJSON struct{ runtime.JSONPb }

func newStrictJSON() *strictJSON {
	return &strictJSON{runtime.JSONPb{MarshalOptions: answer.JSON}}
}

// NewDecoder implements runtime.Marshaler.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	b, ok := r.(*body)
	if !ok {
		return m.JSONPb.NewDecoder(r)
	}
	return runtime.DecoderFunc(b.decode)
}

// decode reads the body into a message. An empty body is an empty message, for
// methods whose path says it all.
func (b *body) decode(v any) error {
	msg, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decoding into %T: not a message", v)
	}
	if len(bytes.TrimSpace(b.data)) == 0 {
		return io.EOF
	}
	if protojson.Unmarshal(b.data, msg) == nil && !misspelt(b.data, msg.ProtoReflect().Descriptor()) {
		return nil
	}
	proto.Reset(msg)
	faults, err := salvage(b.data, msg.ProtoReflect())
	b.refusal, b.call.Unreadable = err, append(b.call.Unreadable, faults...)
	return err
}

// salvage reads what can be read of a body that protojson has refused, and returns all that
// is wrong with the rest. An error means that nothing could be read. protojson's own text is
// not stable and may quote what a member wrote.
func salvage(data []byte, msg protoreflect.Message) ([]rpc.Violation, error) {
	switch {
	case !utf8.Valid(data):
		return nil, rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not valid UTF-8")
	case !json.Valid(data):
		return nil, rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not one JSON value")
	case !isObject(data):
		return nil, rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not a JSON object")
	}
	faults := salvageObject(data, msg, "", nil)
	if len(faults) == 0 {
		return nil, rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not what this method takes")
	}
	return faults, nil
}

func isObject(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

// salvageObject reads the members of a JSON object that can be read into a message, and
// appends the faults of the others; path is that of the object, empty or ending in a full
// stop.
func salvageObject(data []byte, msg protoreflect.Message, path string, faults []rpc.Violation) []rpc.Violation {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return append(faults, rpc.Violation{Field: fieldName(strings.TrimSuffix(path, ".")), Reason: errorpb.ErrorReason_JSON_MALFORMED, Description: "is not a JSON object"})
	}
	seen := make(map[protoreflect.Name]bool)
	for decoder.More() && len(faults) < door.MaxFaults {
		token, err := decoder.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err != nil || decoder.Decode(&value) != nil {
			return faults
		}
		fields := msg.Descriptor().Fields()
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByTextName(name)
		}
		switch {
		case field == nil:
			faults = append(faults, rpc.Violation{Field: fieldName(path + name), Reason: errorpb.ErrorReason_FIELD_UNKNOWN, Description: "this method has no such field"})
			continue
		case seen[field.Name()]:
			faults = append(faults, rpc.Violation{Field: fieldName(path + name), Reason: errorpb.ErrorReason_FIELD_DUPLICATE, Description: "is given twice"})
			continue
		}
		seen[field.Name()] = true
		faults = salvageValue(value, field, msg, path, faults)
	}
	return faults
}

// salvageValue tries one member alone.
func salvageValue(value json.RawMessage, field protoreflect.FieldDescriptor, msg protoreflect.Message, path string, faults []rpc.Violation) []rpc.Violation {
	alone := slices.Concat([]byte(`{"`+field.JSONName()+`":`), value, []byte(`}`))
	read := msg.New()
	if protojson.Unmarshal(alone, read.Interface()) == nil && !misspelt(alone, msg.Descriptor()) {
		proto.Merge(msg.Interface(), read.Interface())
		return faults
	}
	if isOurs(field) && !field.IsList() && isObject(value) {
		if within := salvageObject(value, msg.Mutable(field).Message(), path+field.JSONName()+".", faults); len(within) > len(faults) {
			return within
		}
	}
	return append(faults, rpc.Violation{Field: path + field.JSONName(), Reason: misfit(field), Description: "is not " + kindOf(field)})
}

// isOurs reports whether a field has a message that is an object in JSON: times, durations
// and masks are texts.
func isOurs(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && field.Message().ParentFile().Package() != "google.protobuf" && !field.IsMap()
}

// misspelt reports whether an object that protojson accepts gives an enum's value other than
// by a name that the document lists: protojson also accepts its number, and the zero value,
// which means that there is none.
func misspelt(data []byte, typ protoreflect.MessageDescriptor) bool {
	var members map[string]json.RawMessage
	for i := range typ.Fields().Len() {
		field := typ.Fields().Get(i)
		if field.Enum() == nil && !isOurs(field) {
			continue
		}
		if members == nil && json.Unmarshal(data, &members) != nil {
			return false
		}
		for _, name := range []string{field.JSONName(), field.TextName()} {
			values := []json.RawMessage{members[name]}
			if field.IsList() && json.Unmarshal(members[name], &values) != nil {
				continue // null, or absent
			}
			if slices.ContainsFunc(values, func(value json.RawMessage) bool { return value != nil && misspeltValue(value, field) }) {
				return true
			}
		}
	}
	return false
}

func misspeltValue(value json.RawMessage, field protoreflect.FieldDescriptor) bool {
	if field.Message() != nil {
		return misspelt(value, field.Message())
	}
	var name *string
	err := json.Unmarshal(value, &name)
	return err != nil || name != nil && !isValue(field, *name)
}

// isValue reports whether an enum's field takes a value of this name: any but the zero value,
// or also that if the field is OPTIONAL, as answers have it.
func isValue(field protoreflect.FieldDescriptor, name string) bool {
	value := field.Enum().Values().ByName(protoreflect.Name(name))
	return value != nil && takes(field, value)
}

func takes(field protoreflect.FieldDescriptor, value protoreflect.EnumValueDescriptor) bool {
	behaviour, _ := proto.GetExtension(field.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return value.Number() != 0 || slices.Contains(behaviour, annotations.FieldBehavior_OPTIONAL)
}

// misfit is the reason for a value that its field cannot hold. For an enum it is the same as
// over gRPC, where the number is decoded and the field's rule refuses it.
func misfit(field protoreflect.FieldDescriptor) errorpb.ErrorReason {
	if field.Enum() != nil {
		return errorpb.ErrorReason_VALUE_UNKNOWN
	}
	return errorpb.ErrorReason_VALUE_INVALID
}

// kindOf says what a field takes.
func kindOf(field protoreflect.FieldDescriptor) string {
	kind := "a valid " + field.Kind().String()
	switch {
	case field.Enum() != nil:
		var names []string
		for i := range field.Enum().Values().Len() {
			if value := field.Enum().Values().Get(i); takes(field, value) {
				names = append(names, string(value.Name()))
			}
		}
		kind = "one of " + strings.Join(names, ", ")
	case field.Kind() == protoreflect.BoolKind:
		kind = "true or false"
	case field.Kind() == protoreflect.StringKind:
		kind = "a valid Unicode string"
	case field.Message() != nil && field.Message().FullName() == "google.protobuf.FieldMask":
		kind = "names of fields in camelCase, with commas between"
	case field.Message() != nil:
		kind = "a valid " + string(field.Message().Name())
	}
	if field.IsList() {
		return "a list of which each is " + kind
	}
	return kind
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_.]{1,64}$`)

// fieldName returns a name that the caller wrote, if it looks like a field's.
func fieldName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return "body"
}

var errBadQuery = rpc.Invalid("query", errorpb.ErrorReason_QUERY_MALFORMED, "cannot be read")

// checkQuery returns the query without the parameters that the method does not have, that
// are given twice or that do not fit their field, and what is wrong with these: the generated
// code would ignore the first and quote the others. An empty parameter of an enum counts as
// absent, as a string's does: generated clients send it that way.
func checkQuery(rt *route.Route, rawQuery string) (rest string, faults []rpc.Violation) {
	if rawQuery == "" {
		return "", nil
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", slices.Clone(errBadQuery.Violations)
	}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v, ok := checkParameter(rt, name, values[name]); !ok {
			faults = append(faults, v)
			delete(values, name)
		} else if rt.Query[name].Enum() != nil && slices.Contains(values[name], "") {
			values[name] = slices.DeleteFunc(values[name], func(value string) bool { return value == "" })
			changed = true
		}
	}
	if len(faults) == 0 && !changed {
		return rawQuery, nil
	}
	return values.Encode(), faults[:min(len(faults), door.MaxFaults)]
}

func checkParameter(rt *route.Route, name string, values []string) (fault rpc.Violation, ok bool) {
	field := rt.Query[name]
	switch {
	case field == nil && plainName.MatchString(name):
		return rpc.Violation{Field: name, Reason: errorpb.ErrorReason_PARAMETER_UNKNOWN, Description: "this method has no such parameter"}, false
	case field == nil:
		return rpc.Violation{Field: "query", Reason: errorpb.ErrorReason_PARAMETER_UNKNOWN, Description: "this method has no such parameter"}, false
	case len(values) > 1 && !field.IsList():
		return rpc.Violation{Field: name, Reason: errorpb.ErrorReason_PARAMETER_DUPLICATE, Description: "is given twice"}, false
	}
	for _, value := range values {
		msg := rt.Input.New().Interface()
		if field.Enum() != nil && value == "" {
			continue
		}
		misspelt := field.Enum() != nil && !isValue(field, value)
		if misspelt || !utf8.ValidString(value) || runtime.PopulateFieldFromPath(msg, string(field.Name()), value) != nil {
			return rpc.Violation{Field: name, Reason: misfit(field), Description: "is not " + kindOf(field)}, false
		}
	}
	return rpc.Violation{}, true
}
