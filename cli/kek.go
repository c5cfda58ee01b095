package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const (
	// kekTimeout bounds a call of the KMS, its repeats included.
	kekTimeout = 5 * time.Second
	kekRetries = 2
)

// kms is a key in a KMS that encrypts a key set, if one is given.
type kms struct {
	KEK          string `name:"kek" env:"MESSAGERIE_KEK" help:"The key in a KMS that encrypts the file: hcvault://host:port/transit/keys/name. A file that is not encrypted yet is encrypted."`
	KEKTokenFile string `name:"kek-token-file" env:"MESSAGERIE_KEK_TOKEN_FILE" type:"existingfile" help:"A file that holds your token for the KMS."`
}

// open returns the key, which is not called yet; none if none is given.
func (k kms) open(by *http.Client) (tink.AEAD, error) {
	if k.KEK == "" {
		return nil, nil //nolint:nilnil // the file is not encrypted
	}
	if k.KEKTokenFile == "" {
		return nil, fmt.Errorf("%w: --kek needs --kek-token-file", errUsage)
	}
	u, err := url.Parse(k.KEK)
	if err != nil || u.Scheme != "hcvault" || u.Host == "" {
		return nil, fmt.Errorf("%w: --kek is not hcvault://host:port/transit/keys/name", errUsage)
	}
	token, err := os.ReadFile(k.KEKTokenFile)
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(&api.Config{Address: "https://" + u.Host, HttpClient: by, Timeout: kekTimeout, MaxRetries: kekRetries})
	if err != nil {
		return nil, fmt.Errorf("preparing calls of the KMS: %w", err)
	}
	client.SetToken(strings.TrimSpace(string(token)))
	remote, err := hcvault.NewClientWithAEADOptions("hcvault://"+u.Host, client.Logical())
	if err != nil {
		return nil, fmt.Errorf("preparing calls of the KMS: %w", err)
	}
	return remote.GetAEAD(k.KEK)
}

// encrypted reports whether a key set is encrypted by a KMS.
func encrypted(content []byte) bool {
	sealed, err := keyset.NewJSONReader(bytes.NewReader(content)).ReadEncrypted()
	return err == nil && len(sealed.GetEncryptedKeyset()) > 0
}

var errEncrypted = errors.New("the key set is encrypted by a KMS: give --kek and --kek-token-file")
