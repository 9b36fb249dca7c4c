'use strict'
// Drives MQTT.js for the tests in the folder above: commands come as JSON
// lines on stdin, events leave as JSON lines on stdout.

const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

let client
let acks // what PUBACK and PUBREC said, by packet id

function emit (event, values) {
  process.stdout.write(JSON.stringify({ event, ...values }) + '\n')
}

function fail (err) {
  emit('error', { text: String(err && err.stack) })
}

function properties (m) {
  const p = {}
  if (m.user) {
    p.userProperties = {}
    for (const [key, value] of m.user) (p.userProperties[key] ??= []).push(value)
  }
  if (m.content_type) p.contentType = m.content_type
  if (m.response) p.responseTopic = m.response
  if (m.correlation) p.correlationData = Buffer.from(m.correlation, 'hex')
  if (m.expiry) p.messageExpiryInterval = m.expiry
  return p
}

function userPairs (user = {}) {
  return Object.entries(user).flatMap(([key, value]) => [value].flat().map((v) => [key, v]))
}

function received (topic, payload, packet) {
  const p = packet.properties ?? {}
  emit('message', {
    topic,
    payload: payload.toString('hex'),
    qos: packet.qos,
    retain: packet.retain,
    dup: packet.dup,
    user: userPairs(p.userProperties),
    content_type: p.contentType ?? '',
    response: p.responseTopic ?? '',
    correlation: (p.correlationData ?? Buffer.alloc(0)).toString('hex'),
    expiry: p.messageExpiryInterval ?? 0
  })
}

function connectOptions (o) {
  const options = {
    protocolVersion: o.version,
    protocolId: o.version === 3 ? 'MQIsdp' : 'MQTT',
    clientId: o.client_id,
    clean: o.clean,
    keepalive: o.keep_alive,
    username: o.username,
    password: o.password,
    reconnectPeriod: 0
  }
  if (o.version === 5) options.properties = { sessionExpiryInterval: o.session_expiry }
  if (o.ca) options.ca = fs.readFileSync(o.ca)
  if (o.cert) options.cert = fs.readFileSync(o.cert)
  if (o.key) options.key = fs.readFileSync(o.key)
  if (o.will) {
    options.will = { topic: o.will.topic, payload: Buffer.from(o.will.payload, 'hex'), qos: o.will.qos, retain: o.will.retain }
    if (o.version === 5) options.will.properties = { ...properties(o.will), willDelayInterval: o.will_delay }
  }
  return options
}

const commands = {
  connect (o) {
    let answered = false
    let code = -1
    const c = client = mqtt.connect(o.url, connectOptions(o))
    acks = new Map()
    c.on('connect', (ack) => {
      answered = true
      emit('connected', { code: ack.reasonCode ?? ack.returnCode, session: Number(ack.sessionPresent) })
    })
    c.on('error', (err) => {
      if (answered) return
      answered = true
      if (typeof err.code === 'number') emit('connected', { code: err.code })
      else fail(err)
    })
    c.on('packetreceive', (p) => {
      if (p.cmd === 'puback' || p.cmd === 'pubrec') acks.set(p.messageId, p.reasonCode)
    })
    c.on('message', received)
    c.on('disconnect', (p) => { code = p.reasonCode })
    c.on('close', () => {
      if (!answered) {
        answered = true
        fail(new Error('closed before CONNACK'))
      } else if (!c.disconnecting) {
        emit('gone', { code })
      }
    })
  },

  subscribe (o) {
    const filters = Object.fromEntries(o.filters.map((f) => [f.filter, { qos: f.qos }]))
    client.subscribe(filters, (err, _granted, packet) => {
      if (packet) emit('subscribed', { codes: packet.granted })
      else fail(err)
    })
  },

  unsubscribe (o) {
    client.unsubscribe(o.filters, (err, packet) => {
      if (err) fail(err)
      else emit('unsubscribed', { codes: packet.granted })
    })
  },

  publish (o) {
    const options = { qos: o.qos, retain: o.retain, properties: properties(o) }
    client.publish(o.topic, Buffer.from(o.payload, 'hex'), options, (err, packet) => {
      const code = acks.get(packet?.messageId)
      if (err && code === undefined) fail(err)
      else emit('published', { code: code ?? -1 })
    })
  },

  disconnect () {
    client.end(false, {}, () => emit('disconnected'))
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  try {
    const command = JSON.parse(line)
    commands[command.do](command)
  } catch (err) {
    fail(err)
  }
}).on('close', () => process.exit(0))
