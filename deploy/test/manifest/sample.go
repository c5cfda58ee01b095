package manifest

import (
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// variableName is what the kubelet takes as the name of a variable, as this project
// writes them.
var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// sample is a value as a Secret would have it: the manifests hold none. Optional
// settings of which it knows no good value are left out.
func sample(name string, required bool) string {
	switch {
	case isDatabase(name):
		return "postgres://user:secret@database:5432/name"
	case strings.HasSuffix(name, "_NATS_URL"):
		return "nats://nats:4222"
	case strings.HasSuffix(name, "_KEYSET"):
		return sampleKeyset()
	case strings.HasSuffix(name, "_SESSION_KEY"):
		return base64.StdEncoding.EncodeToString(make([]byte, 32))
	case strings.HasSuffix(name, "_CLIENT_SECRET"), required:
		return "sample"
	}
	return ""
}

func sampleKeyset() string {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return ""
	}
	var out strings.Builder
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return ""
	}
	return out.String()
}

// readable gives the program's own reader of settings what it would find, and
// reports what it says: values of a wrong form, and settings that do not go together.
func (l *linter) readable(o Object, c container, s Service, variables map[string]variable) {
	var environ []string
	for name, v := range variables {
		base, known := settingOf(s.Settings, name)
		if !known {
			continue
		}
		value := v.value
		if v.secret || strings.HasSuffix(name, "_FILE") {
			name, value = base, sample(base, s.Settings[base].Required)
		}
		if value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	for _, problem := range lines(s.Load(environ)) {
		// What is missing is reported already, and the files that a path names are
		// those of the cluster.
		if !strings.Contains(problem, "required environment variable") && !strings.Contains(problem, "no such file") {
			l.fault(o, c.field, problem, "correct the value in the ConfigMap or env")
		}
	}
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	var found []string
	for part := range strings.SplitSeq(err.Error(), "\n") {
		if part != "" && !strings.HasPrefix(part, "reading configuration") {
			found = append(found, part)
		}
	}
	return found
}
