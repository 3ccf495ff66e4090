import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The reduced job (see ../job.py, which says what it is) on Kafka Streams.
 *
 * <p>As its documentation advises (kafka.apache.org/documentation/streams/developer-guide): a processor with a
 * persistent store and a cache per visitor (processor-api.html, memory-mgmt.html), groupByKey and aggregate per channel
 * with an automatic repartition topic (dsl-api.html), changelog topics, processing guarantee at_least_once (the
 * default). commit.interval.ms is 1,000 instead of 30,000: the cache holds results back until then, and Headwater's are
 * visible within a second or two as well. An envelope's visitors belong to its partition, so it needs no repartition.
 */
public final class ReducedJob {
    private static final long GAP_MS = 30 * 60_000L;
    private static final String DIRECT = "(direct) / (none)";

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Hit {
        public String visitor_id;
        public long occurred_at;
        public String event = "page_view";
        public String url = "";
        public String referrer = "";
        public String value = "0";
    }

    public static final class Visit {
        public long started_at;
        public long last_at;
        public int hits;
        public String channel;
    }

    public static final class Sums {
        public String channel;
        public long sessions;
        public long conversions;
        public long revenue;
    }

    private static final ObjectMapper MAPPER =
            new ObjectMapper().enable(DeserializationFeature.ACCEPT_SINGLE_VALUE_AS_ARRAY);

    private static <T> Serde<T> json(Class<T> type) {
        ObjectReader reader = MAPPER.readerFor(type);
        ObjectWriter writer = MAPPER.writerFor(type);
        return Serdes.serdeFrom(
                (topic, value) -> {
                    try {
                        return value == null ? null : writer.writeValueAsBytes(value);
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                },
                (topic, bytes) -> {
                    try {
                        return bytes == null ? null : reader.readValue(bytes);
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                });
    }

    /** Keeps each visitor's session and last touch; forwards what a hit adds to a channel. */
    private static final class Follow implements Processor<String, Hit[], String, Sums> {
        private ProcessorContext<String, Sums> context;
        private KeyValueStore<String, Visit> visits;

        @Override
        public void init(ProcessorContext<String, Sums> context) {
            this.context = context;
            this.visits = context.getStateStore("visits");
        }

        @Override
        public void process(Record<String, Hit[]> record) {
            for (Hit hit : record.value()) {
                take(hit, record.timestamp());
            }
        }

        private void take(Hit hit, long timestamp) {
            String touch = channelOf(hit.url, hit.referrer);
            Visit visit = visits.get(hit.visitor_id);
            boolean starts = visit == null || hit.occurred_at - visit.last_at > GAP_MS;
            if (visit == null) {
                visit = new Visit();
                visit.last_at = hit.occurred_at;
                visit.channel = DIRECT;
            }
            if (starts) {
                visit.started_at = hit.occurred_at;
                visit.hits = 0;
            }
            visit.last_at = Math.max(visit.last_at, hit.occurred_at);
            visit.hits++;
            if (touch != null) {
                visit.channel = touch;
            }
            visits.put(hit.visitor_id, visit);
            boolean bought = hit.event.equals("purchase");
            if (starts || bought) {
                Sums part = new Sums();
                part.channel = visit.channel;
                part.sessions = starts ? 1 : 0;
                part.conversions = bought ? 1 : 0;
                part.revenue = bought ? minorUnits(hit.value) : 0;
                context.forward(new Record<>(part.channel, part, timestamp));
            }
        }
    }

    private static String channelOf(String url, String referrer) {
        int question = url.indexOf('?');
        if (question >= 0) {
            String source = null;
            String medium = "(not set)";
            boolean isAdClick = false;
            int hash = url.indexOf('#', question);
            for (String pair : url.substring(question + 1, hash < 0 ? url.length() : hash).split("&")) {
                int equals = pair.indexOf('=');
                if (equals < 0 || equals == pair.length() - 1) {
                    continue;
                }
                String value = URLDecoder.decode(pair.substring(equals + 1), StandardCharsets.UTF_8);
                switch (pair.substring(0, equals)) {
                    case "utm_source" -> source = source == null ? value : source;
                    case "utm_medium" -> medium = value;
                    case "gclid" -> isAdClick = true;
                    default -> { }
                }
            }
            if (source != null) {
                return source + " / " + medium;
            }
            if (isAdClick) {
                return "google / cpc";
            }
        }
        String host = hostOf(referrer);
        return host.isEmpty() || host.equals(hostOf(url)) ? null : host + " / referral";
    }

    private static String hostOf(String url) {
        int start = url.indexOf("//");
        if (start < 0) {
            return "";
        }
        int end = start + 2;
        while (end < url.length() && "/?#".indexOf(url.charAt(end)) < 0) {
            end++;
        }
        return url.substring(start + 2, end);
    }

    private static long minorUnits(String text) {
        int point = text.indexOf('.');
        return point < 0
                ? Long.parseLong(text) * 100
                : Long.parseLong(text.substring(0, point)) * 100 + Long.parseLong(text.substring(point + 1));
    }

    private static Sums add(Sums total, Sums part) {
        total.channel = part.channel;
        total.sessions += part.sessions;
        total.conversions += part.conversions;
        total.revenue += part.revenue;
        return total;
    }

    public static void main(String[] arguments) {
        Serde<Sums> sums = json(Sums.class);
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore("visits"), Serdes.String(), json(Visit.class))
                .withCachingEnabled());
        builder.stream(System.getenv("RIVAL_HITS"), Consumed.with(Serdes.String(), json(Hit[].class)))
                .process(Follow::new, "visits")
                .groupByKey(Grouped.with("channel", Serdes.String(), sums))
                .aggregate(
                        Sums::new,
                        (channel, part, total) -> add(total, part),
                        Materialized.<String, Sums>as(Stores.persistentKeyValueStore("sums"))
                                .withKeySerde(Serdes.String())
                                .withValueSerde(sums))
                .toStream()
                .to(System.getenv("RIVAL_SUMS"), Produced.with(Serdes.String(), sums));

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("RIVAL_GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("RIVAL_KAFKA"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("RIVAL_STATE"));
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
