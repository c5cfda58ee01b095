// Command generate reads an image of the .proto files and writes their OpenAPI document.
package main

import (
	"log"
	"os"

	"github.com/ma-messagerie/messagerie/services/gateway/internal/openapi"
)

func main() {
	if err := openapi.Generate(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
