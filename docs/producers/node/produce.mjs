// Sends tasks to processor: Avro in single-object encoding, keyed by session.
//
//   node produce.mjs HOST:PORT TOPIC [CREATED_AT]

import { readFileSync } from 'node:fs'
import avro from 'avsc'
import { Kafka, Partitioners, logLevel } from 'kafkajs'

const [bootstrapServers, topic, createdAt = Date.now()] = process.argv.slice(2)
if (!topic) throw new Error('usage: produce.mjs HOST:PORT TOPIC [CREATED_AT]')

const task = avro.Type.forSchema(JSON.parse(readFileSync('task.avsc'))) // schemas/task.avsc of processor
// The first bytes of single-object encoding and the schema's fingerprint, see `processor schema show processor.Task`.
const frame = Buffer.from('c301' + '9cda608e494710c2', 'hex')

// kafkajs's default partitioner hashes keys as the Java client does (murmur2), so that all producers send a session to
// one partition. An idempotent producer cannot reorder a session when it retries a request.
const kafka = new Kafka({ brokers: bootstrapServers.split(','), logLevel: logLevel.ERROR })
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true })

const messages = Array.from({ length: 50 }, (_, number) => {
  const session = `session-${number}`
  const datum = task.toBuffer({
    id: `t-${number}`,
    session_id: session,
    name: 'charge',
    payload: Buffer.from(JSON.stringify({ amount: number })),
    content_type: 'application/json',
    headers: {},
    created_at: Number(createdAt),
  })
  return { key: session, value: Buffer.concat([frame, datum]) }
})

await producer.connect()
await producer.send({ topic, messages })
await producer.disconnect()
