// Sends tasks to processor: Avro in single-object encoding, keyed by session.
//
//	go run . HOST:PORT TOPIC [CREATED_AT]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The first bytes of single-object encoding and the schema's fingerprint, see `processor schema show processor.Task`.
// goavro's SingleFromNative computes another fingerprint for schemas with logical types: its canonical form does not
// follow the specification.
const frame = "\xc3\x01\x9c\xda\x60\x8e\x49\x47\x10\xc2"

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: taskproducer HOST:PORT TOPIC [CREATED_AT]")
	}
	createdAt := time.Now()
	if len(os.Args) > 3 {
		milliseconds, err := strconv.ParseInt(os.Args[3], 10, 64)
		check(err)
		createdAt = time.UnixMilli(milliseconds)
	}
	schema, err := os.ReadFile("task.avsc") // schemas/task.avsc of processor
	check(err)
	codec, err := goavro.NewCodec(string(schema))
	check(err)

	// franz-go's default partitioner hashes keys as the Java client does (murmur2), so that all producers send a
	// session to one partition. Its producer is idempotent, so that a retry cannot reorder a session.
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.DefaultProduceTopic(os.Args[2]))
	check(err)
	defer client.Close()

	for number := range 50 {
		session := fmt.Sprintf("session-%d", number)
		payload, err := json.Marshal(map[string]any{"amount": number})
		check(err)
		value, err := codec.BinaryFromNative([]byte(frame), map[string]any{
			"id":           fmt.Sprintf("t-%d", number),
			"session_id":   session,
			"name":         "charge",
			"payload":      goavro.Union("bytes", payload),
			"content_type": "application/json",
			"headers":      map[string]any{},
			"created_at":   createdAt,
		})
		check(err)
		client.Produce(context.Background(), &kgo.Record{Key: []byte(session), Value: value},
			func(_ *kgo.Record, err error) { check(err) })
	}
	check(client.Flush(context.Background()))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
