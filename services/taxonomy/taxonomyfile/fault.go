package taxonomyfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// Fault is one thing that an editor has to change.
type Fault struct {
	// File is its name, as it was given.
	File string `json:"file"`
	// Line and Column are where it stands, from 1; a column is a character, not a byte.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Code is what a program compares. docs/taxonomy.md lists them.
	Code string `json:"code"`
	// Text says what is wrong, Hint how to mend it.
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// Error is file:line:column: CODE: text. Hint.
func (f Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s. %s.", f.File, f.Line, f.Column, f.Code, f.Text, strings.ToUpper(f.Hint[:1])+f.Hint[1:])
}

// Faults are all those of a file, in its order; there is one at least.
type Faults []Fault

// Error has a line for each.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// The codes of faults. Those of what is shown are TEXT_ and a flaw of package plain.
const (
	encodingInvalid    = "ENCODING_INVALID"
	characterForbidden = "CHARACTER_FORBIDDEN"
	spaceInvalid       = "SPACE_INVALID"
	indentTab          = "INDENT_TAB"
	syntaxInvalid      = "SYNTAX_INVALID"
	fileEmpty          = "FILE_EMPTY"
	documentSecond     = "DOCUMENT_SECOND"
	keyUnknown         = "KEY_UNKNOWN"
	keyDuplicate       = "KEY_DUPLICATE"
	kindInvalid        = "KIND_INVALID"
	entryEmpty         = "ENTRY_EMPTY"
	numberMissing      = "NUMBER_MISSING"
	numberNotWhole     = "NUMBER_NOT_WHOLE"
	numberOutOfRange   = "NUMBER_OUT_OF_RANGE"
	codeMissing        = "CODE_MISSING"
	codeInvalid        = "CODE_INVALID"
	codeDuplicate      = "CODE_DUPLICATE"
	audienceMissing    = "AUDIENCE_MISSING"
	audienceUnknown    = "AUDIENCE_UNKNOWN"
	audienceDuplicate  = "AUDIENCE_DUPLICATE"
	audienceOutside    = "AUDIENCE_OUTSIDE"
	depthUnknown       = "DEPTH_UNKNOWN"
	queueMissing       = "QUEUE_MISSING"
	queueUnknown       = "QUEUE_UNKNOWN"
	serviceUnknown     = "SERVICE_UNKNOWN"
	serviceOutside     = "SERVICE_OUTSIDE"
	choiceMissing      = "CHOICE_MISSING"
	otherMissing       = "OTHER_MISSING"
	textMissing        = "TEXT_MISSING"
	textPrefix         = "TEXT_"
	labelDuplicate     = "LABEL_DUPLICATE"
	phoneInvalid       = "PHONE_INVALID"
	emailInvalid       = "EMAIL_INVALID"
	postalInvalid      = "POSTAL_INVALID"
	urlInvalid         = "URL_INVALID"
	keywordInvalid     = "KEYWORD_INVALID"
	keywordDuplicate   = "KEYWORD_DUPLICATE"
	listLength         = "LIST_LENGTH"
)

// Codes are all of them.
func Codes() []string {
	codes := []string{
		encodingInvalid, characterForbidden, spaceInvalid, indentTab, syntaxInvalid, fileEmpty, documentSecond, keyUnknown, keyDuplicate, kindInvalid,
		entryEmpty, numberMissing, numberNotWhole, numberOutOfRange, codeMissing, codeInvalid, codeDuplicate, audienceMissing, audienceUnknown,
		audienceDuplicate, audienceOutside, depthUnknown, queueMissing, queueUnknown, serviceUnknown, serviceOutside, choiceMissing, otherMissing,
		textMissing, labelDuplicate, phoneInvalid, emailInvalid, postalInvalid, urlInvalid, keywordInvalid, keywordDuplicate, listLength,
	}
	for _, flaw := range []plain.Flaw{plain.Invisible, plain.Control, plain.Direction, plain.Spaces, plain.Unnormalised, plain.Long} {
		codes = append(codes, textPrefix+string(flaw))
	}
	return codes
}

// report collects the faults of a file.
type report struct {
	name   string
	faults Faults
}

func (r *report) fault(at Place, code, hint, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !plain.Is(text) { // of a code, as what is shown is quoted
		text = strconv.Quote(text)
	}
	r.faults = append(r.faults, Fault{r.name, max(at.Line, 1), max(at.Column, 1), code, text, hint})
}

// err is what was collected, in the order of the file; nil if nothing was.
func (r *report) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return slices.Compact(r.faults)
}
