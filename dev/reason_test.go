package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

var (
	spoken   = regexp.MustCompile(`errorpb\.ErrorReason_([A-Z0-9_]+)`)
	refusals = regexp.MustCompile(`Refuse\(codes\.(\w+), errorpb\.ErrorReason_([A-Z0-9_]+)`)
	invalids = regexp.MustCompile(`(?:Invalid\([^\n]*?|Violation\{[^\n]*?Reason: )errorpb\.ErrorReason_([A-Z0-9_]+)`)
)

// Each reason of the .proto is given by some code, and none with another gRPC code than the
// .proto says.
func TestReasonsAreGiven(t *testing.T) {
	t.Parallel()
	given := make(map[string]bool)
	come := func(file, reason string, code codes.Code) {
		meaning := rpc.MeaningOf(errorpb.ErrorReason(errorpb.ErrorReason_value[reason]))
		if !slices.ContainsFunc(meaning.GetCodes(), func(name string) bool {
			var want codes.Code
			return want.UnmarshalJSON([]byte(`"`+name+`"`)) == nil && want == code
		}) {
			t.Errorf("%s gives %s with %s, the .proto says %v", file, reason, code, meaning.GetCodes())
		}
	}
	codeOf := make(map[string]codes.Code)
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		codeOf[code.String()] = code
	}
	for _, part := range []string{"../chassis", "../services"} {
		err := filepath.WalkDir(part, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, found := range spoken.FindAllStringSubmatch(string(text), -1) {
				given[found[1]] = true
			}
			for _, found := range refusals.FindAllStringSubmatch(string(text), -1) {
				come(path, found[2], codeOf[found[1]])
			}
			for _, found := range invalids.FindAllStringSubmatch(string(text), -1) {
				come(path, found[1], codes.InvalidArgument)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for number, name := range errorpb.ErrorReason_name {
		value := errorpb.ErrorReason(number).Descriptor().Values().ByNumber(protoreflect.EnumNumber(number))
		options, _ := value.Options().(*descriptorpb.EnumValueOptions)
		if number != 0 && given[name] == options.GetDeprecated() {
			t.Errorf("%s: given %t, deprecated %t", name, given[name], options.GetDeprecated())
		}
	}
	if len(given) < 50 {
		t.Errorf("%d reasons are found", len(given))
	}
}
