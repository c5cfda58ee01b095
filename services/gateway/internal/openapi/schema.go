package openapi

import (
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// role is what a schema is for.
type role int

const (
	request role = iota
	answer
)

// textBounds are the fewest and most characters of texts, which are counted in another way
// than the rules of protovalidate count.
var textBounds = map[protoreflect.FullName][2]int{
	"messagerie.messaging.v1.SubmitMessageRequest.text": {10, 750},
	"messagerie.messaging.v1.PostFollowUpRequest.text":  {1, 750},
	"messagerie.messaging.v1.PostReplyRequest.text":     {1, 5000},
	"messagerie.messaging.v1.AddNoteRequest.text":       {1, 2000},
	// Of those that may be empty there is no least length.
	"messagerie.messaging.v1.CloseConversationRequest.text":    {0, 750},
	"messagerie.messaging.v1.TransferConversationRequest.note": {0, 2000},
	"messagerie.messaging.v1.AssignConversationRequest.note":   {0, 2000},
	"messagerie.messaging.v1.TakeOverConversationRequest.note": {0, 2000},
}

const (
	durationPattern = `^-?[0-9]+(\.[0-9]+)?s$`
	integerPattern  = `^-?[0-9]+$`
	uuidOrEmpty     = `^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$`
)

// find notes which messages are in answers.
func (d *document) find(message protoreflect.MessageDescriptor) {
	if d.answered[message.FullName()] || isKnown(message) {
		return
	}
	d.answered[message.FullName()] = true
	for i := range message.Fields().Len() {
		if inner := message.Fields().Get(i).Message(); inner != nil {
			d.find(inner)
		}
	}
}

// messageSchema adds the schema of a message, with all that it refers to, and returns its
// name.
func (d *document) messageSchema(message protoreflect.MessageDescriptor, as role) string {
	name := string(message.FullName())
	if as == request && d.answered[message.FullName()] {
		name += "Input"
	}
	if _, ok := d.schemas[name]; !ok {
		d.schemas[name] = nil // it may refer to itself
		d.schemas[name] = d.objectSchema(message, as, nil)
	}
	return name
}

// bodySchema is messageSchema of a request without what is in its path.
func (d *document) bodySchema(message protoreflect.MessageDescriptor, inPath []string) string {
	name := string(message.FullName())
	d.schemas[name] = d.objectSchema(message, request, inPath)
	return name
}

func (d *document) objectSchema(message protoreflect.MessageDescriptor, as role, without []string) object {
	properties := object{}
	var required []string
	pieces := 0
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if slices.Contains(without, string(field.Name())) {
			continue
		}
		schema := d.fieldSchema(field, as)
		if words := describe(field); words != "" {
			schema = append(schema, member{"description", words})
		}
		if behaves(field, annotations.FieldBehavior_OUTPUT_ONLY) {
			schema = append(schema, member{"readOnly", true})
		}
		properties = append(properties, member{field.JSONName(), schema})
		if as == request && needed(field) || as == answer && written(field) {
			required = append(required, field.JSONName())
		}
		if field.ContainingOneof() != nil {
			pieces++
		}
	}
	schema := object{{"type", "object"}, {"description", commentOf(message)}, {"properties", properties}}
	if len(required) > 0 {
		schema = append(schema, member{"required", required})
	}
	if pieces > 0 && pieces == len(properties) {
		schema = append(schema, member{"minProperties", 1}, member{"maxProperties", 1})
	}
	if as == request {
		schema = append(schema, member{"additionalProperties", false})
	}
	return schema
}

// describe is a field's comment, and how a text is counted.
func describe(field protoreflect.FieldDescriptor) string {
	words := commentOf(field)
	if _, ok := textBounds[field.FullName()]; ok {
		words += " The bounds count Unicode code points of what is stored: white space around the text does not count, nor what is taken out."
	}
	return words
}

// written reports whether an answer always has a field: all that is no message, and
// messages that do not say otherwise.
func written(field protoreflect.FieldDescriptor) bool {
	if field.ContainingOneof() != nil {
		return false
	}
	if field.Message() != nil && !field.IsList() {
		return !behaves(field, annotations.FieldBehavior_OPTIONAL)
	}
	return true
}

// needed reports whether a request without a field is refused.
func needed(field protoreflect.FieldDescriptor) bool {
	rules := rulesOf(field)
	switch {
	case behaves(field, annotations.FieldBehavior_REQUIRED): // whoever refuses it
		return true
	case rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE:
		return false
	case rules.GetRequired(), rules.GetRepeated().GetMinItems() > 0, rules.GetBool().GetConst():
		return true
	case rules.GetString().GetMinLen() > 0, rules.GetString().GetUuid():
		return true
	case slices.Contains(rules.GetEnum().GetNotIn(), 0):
		return true
	}
	return textBounds[field.FullName()][0] > 0
}

func rulesOf(field protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	return rules
}

func behaves(field protoreflect.FieldDescriptor, as annotations.FieldBehavior) bool {
	behaviors, _ := proto.GetExtension(field.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(behaviors, as)
}

// fieldSchema is the schema of a field's value.
func (d *document) fieldSchema(field protoreflect.FieldDescriptor, as role) object {
	rules := rulesOf(field)
	if !field.IsList() {
		return d.valueSchema(field, rules, as)
	}
	schema := object{{"type", "array"}, {"items", d.valueSchema(field, rules.GetRepeated().GetItems(), as)}}
	if repeated := rules.GetRepeated(); repeated != nil {
		schema = appendBound(schema, "minItems", repeated.MinItems)
		schema = appendBound(schema, "maxItems", repeated.MaxItems)
		if repeated.GetUnique() {
			schema = append(schema, member{"uniqueItems", true})
		}
	}
	return schema
}

// valueSchema is that of one value of a field, as protojson writes it.
func (d *document) valueSchema(field protoreflect.FieldDescriptor, rules *validate.FieldRules, as role) object {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return d.innerSchema(field.Message(), as)
	case protoreflect.EnumKind:
		return d.enumSchema(field)
	case protoreflect.BoolKind:
		if rules.GetBool().GetConst() {
			return object{{"type", "boolean"}, {"enum", []bool{true}}}
		}
		return object{{"type", "boolean"}}
	case protoreflect.StringKind:
		return stringSchema(field, rules, as)
	case protoreflect.BytesKind:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{{"type", "number"}, {"format", "double"}}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		schema := object{{"type", "integer"}, {"format", "int32"}}
		if whole := rules.GetInt32(); whole != nil {
			if bound, ok := whole.GetGreaterThan().(*validate.Int32Rules_Gte); ok {
				least := bound.Gte
				if behaves(field, annotations.FieldBehavior_REQUIRED) {
					least = max(least, 1) // 0 is what is absent
				}
				schema = append(schema, member{"minimum", least})
			}
			if bound, ok := whole.GetLessThan().(*validate.Int32Rules_Lte); ok {
				schema = append(schema, member{"maximum", bound.Lte})
			}
		}
		return schema
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind,
		protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{{"type", "string"}, {"format", "int64"}, {"pattern", integerPattern}}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{{"type", "integer"}, {"minimum", 0}}
	}
	panic("no schema for " + field.FullName())
}

// isKnown reports whether protojson writes a message as one value.
func isKnown(message protoreflect.MessageDescriptor) bool {
	return message.ParentFile().Package() == "google.protobuf"
}

func (d *document) innerSchema(message protoreflect.MessageDescriptor, as role) object {
	switch message.FullName() {
	case "google.protobuf.Timestamp":
		return object{{"type", "string"}, {"format", "date-time"}}
	case "google.protobuf.Duration":
		return object{{"type", "string"}, {"pattern", durationPattern}}
	case "google.protobuf.FieldMask":
		return object{{"type", "string"}}
	}
	if isKnown(message) {
		panic("no schema for " + message.FullName())
	}
	return reference("schemas", d.messageSchema(message, as))
}

// enumSchema has the names of an enum without the zero value, which the server refuses or
// for which a request leaves the member out. Fields that are OPTIONAL may have it: what an
// answer gave, a request gives back.
func (d *document) enumSchema(field protoreflect.FieldDescriptor) object {
	enum := field.Enum()
	name := string(enum.FullName())
	if d.schemas[name] == nil {
		words := commentOf(enum) + "\n"
		for i := range enum.Values().Len() {
			if value := enum.Values().Get(i); value.Number() != 0 {
				words += "\n- `" + string(value.Name()) + "`: " + commentOf(value)
			}
		}
		d.schemas[name] = object{{"type", "string"}, {"description", words}, {"enum", namesOf(enum, false)}}
	}
	if behaves(field, annotations.FieldBehavior_OPTIONAL) {
		return object{{"type", "string"}, {"enum", namesOf(enum, true)}}
	}
	return reference("schemas", name)
}

func namesOf(enum protoreflect.EnumDescriptor, withZero bool) []string {
	var names []string
	for i := range enum.Values().Len() {
		if value := enum.Values().Get(i); withZero || value.Number() != 0 {
			names = append(names, string(value.Name()))
		}
	}
	return names
}

func stringSchema(field protoreflect.FieldDescriptor, rules *validate.FieldRules, as role) object {
	schema, text := object{{"type", "string"}}, rules.GetString()
	if bounds, ok := textBounds[field.FullName()]; ok {
		if bounds[0] > 0 {
			schema = append(schema, member{"minLength", bounds[0]})
		}
		return append(schema, member{"maxLength", bounds[1]})
	}
	// What an answer may leave empty has no form then.
	if as == answer && behaves(field, annotations.FieldBehavior_OPTIONAL) || text == nil {
		return schema
	}
	if text.GetUuid() && rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE && !needed(field) {
		// What may be empty is no uuid then.
		schema = append(schema, member{"pattern", uuidOrEmpty})
	} else if text.GetUuid() {
		schema = append(schema, member{"format", "uuid"})
	}
	if text.GetEmail() {
		schema = append(schema, member{"format", "email"})
	}
	if text.Pattern != nil {
		schema = append(schema, member{"pattern", text.GetPattern()})
	}
	if len(text.GetIn()) > 0 {
		schema = append(schema, member{"enum", text.GetIn()})
	}
	schema = appendBound(schema, "minLength", text.MinLen)
	return appendBound(schema, "maxLength", text.MaxLen)
}

func appendBound(schema object, name string, bound *uint64) object {
	if bound == nil {
		return schema
	}
	return append(schema, member{name, *bound})
}
