%% Runs scenarios in the format of the conformance data on the Erlang/OTP that is installed, and prints what happened.
%%
%%   erlc oracle.erl
%%   erl -noshell +S 2 -run oracle main SCENARIOS.term TRACES.jsonl PERTURB
%%
%% record.py does that, several times, and makes records of it. SCENARIOS.term holds one Erlang map a scenario, its JSON with
%% strings as binaries. PERTURB is 0, or 1 for random pauses of up to 4 ms in callbacks and starts.
%%
%% Every event gets a number from erlang:unique_integer([monotonic]), exits through trace messages with the same clock, so
%% that one order holds for all processes. Rest is found by looking: all processes wait, with empty mailboxes, four times in
%% a row; 300 times where one is blocked for ever.
-module(oracle).
-compile([export_all, nowarn_export_all]).
-behaviour(gen_server).
main([In, Out, P]) ->
    process_flag(trap_exit, true),
    logger:remove_handler(default),
    logger:add_handler(oracle, ?MODULE, #{}),
    persistent_term:put(perturb, P =/= "0"),
    {ok, Terms} = file:consult(In),
    {ok, F} = file:open(Out, [write]),
    lists:foreach(fun(S) -> R = scenario(S), file:write(F, [json(R), $\n]) end, Terms),
    file:close(F), halt(0).

scenario(S) ->
    Self = self(),
    Pid = spawn(fun() -> Self ! {done, self(), run(S)} end),
    Mon = erlang:monitor(process, Pid),
    R = receive {done, Pid, X} -> X
        after 8000 -> exit(Pid, kill), #{name => maps:get(name, S), error => timeout} end,
    erlang:demonitor(Mon, [flush]),
    timer:sleep(2), R.

run(S) ->
    process_flag(trap_exit, true),
    process_flag(priority, high),
    catch ets:delete(t), catch ets:delete(ev),
    ets:new(t, [named_table, public, set]),
    ets:new(ev, [named_table, public, ordered_set]),
    Tracer = spawn_link(fun tracer/0),
    ets:insert(t, [{tracer, Tracer}, {{pid, self()}, <<"driver">>}, {{label, <<"driver">>}, self()}]),
    Steps = [case maps:get(op, St) =:= <<"start">> andalso not maps:is_key(spec, St) of
        true -> St#{spec => maps:get(tree, S)}; false -> St end || St <- maps:get(steps, S)],
    Groups = groups(Steps, []),
    Done = lists:map(fun(G) ->
        R0 = [step(St) || St <- G],
        settle(),
        flush_driver(),
        erlang:trace_delivered(all), receive {trace_delivered, all, _} -> ok after 1000 -> ok end,
        Evs = [E || {_, E} <- ets:tab2list(ev)],
        ets:delete_all_objects(ev),
        #{r => [enc(X) || X <- R0], ev => lists:append([event(E) || E <- Evs])} end, Groups),
    Final = lists:sort([L || {{label, L}, P} <- ets:tab2list(t), L =/= <<"driver">>, is_process_alive(P)]),
    Kill = [P || {{pid, P}, _} <- ets:tab2list(t), P =/= self()],
    Hel = [P || {{helper, P}, _} <- ets:tab2list(t)],
    [begin unlink(P), erlang:trace(P, false, [all]) end || P <- Kill, is_process_alive(P)],
    [exit(P, kill) || P <- Kill ++ Kill ++ Hel],
    timer:sleep(3),
    unlink(Tracer), exit(Tracer, kill),
    #{name => maps:get(name, S), steps => Done, final => Final}.

groups([], []) -> [];
groups([], Cur) -> [lists:reverse(Cur)];
groups([S | T], Cur) ->
    case maps:get(settle, S, true) of
        true -> [lists:reverse([S | Cur]) | groups(T, [])];
        false -> groups(T, [S | Cur]) end.

tracer() ->
    receive {trace_ts, P, exit, R, {_, U}} -> catch ets:insert(ev, {U, {exit, P, R}}); _ -> ok end, tracer().

ev(E) -> catch ets:insert(ev, {erlang:unique_integer([monotonic]), E}).
perturb() -> case persistent_term:get(perturb) of true -> case rand:uniform(3) of 1 -> timer:sleep(rand:uniform(4)); _ -> ok end; false -> ok end.

event({exit, P, R}) ->
    L = label(P),
    case ets:member(t, {still, L}) of true -> []; false -> [[<<"exit">>, L, enc(R)]] end;
event({raw, L}) -> [L];
event({msg, What, L, M}) ->
    case M of
        {'EXIT', F, _} when is_pid(F) -> case ets:member(t, {still, label(F)}) of true -> []; false -> [[What, L, enc(M)]] end;
        _ -> [[What, L, enc(M)]] end;
event({life, What, L, R, Parent}) -> [[What, L, enc(R), Parent]];
event({term, L, R}) -> [[<<"term">>, L, enc(R)]];
event({report, P, Ctx, Id, R, N}) -> [[<<"report">>, label(P), [enc(Ctx), Id, enc(R)] ++ N]].

label(P) -> case ets:lookup(t, {pid, P}) of [{_, L}] -> L; [] -> <<"?">> end.

%% ---- logger
log(#{msg := {report, #{label := {supervisor, Ctx}, report := R}}}, _) when Ctx =/= progress ->
    Off = proplists:get_value(offender, R),
    Id = proplists:get_value(id, Off, undefined),
    N = case proplists:get_value(nb_children, Off) of undefined -> []; K -> [K] end,
    ev({report, self(), Ctx, case Id of X when is_atom(X) -> atom_to_binary(X); X -> X end, proplists:get_value(reason, R), N});
log(_, _) -> ok.

%% ---- encoding
enc({'$json', X}) -> X;
enc({'$exc', C, R}) -> #{exc => [enc(C), enc(R)]};
enc({'$down', R}) -> #{down => enc(R)};
enc(true) -> true; enc(false) -> false;
enc(A) when is_atom(A) -> atom_to_binary(A);
enc(I) when is_integer(I) -> I;
enc(P) when is_pid(P) -> <<"<", (label(P))/binary, ">">>;
enc(R) when is_reference(R) -> case ets:lookup(t, {ref, R}) of [{_, N}] -> <<"&", N/binary>>; [] -> <<"&?">> end;
enc({gen_server, call, L}) when is_list(L) -> <<"$call">>;
enc({'EXIT', F, R}) when is_pid(F) -> #{'EXIT' => [enc(F), enc(R)]};
enc({'DOWN', Ref, process, O, R}) ->
    Ob = case O of {Nm, _} -> <<"@", (atom_to_binary(Nm))/binary>>; P -> enc(P) end,
    #{'DOWN' => [enc(Ref), Ob, enc(R)]};
enc({cmd, C}) -> #{cmd => C};
enc(T) when is_tuple(T), element(1, T) =:= child, tuple_size(T) > 6 -> #{child => enc(element(3, T))};
enc(T) when is_tuple(T) -> #{t => [enc(X) || X <- tuple_to_list(T)]};
enc([{M, F, A, _} | _]) when is_atom(M), is_atom(F), (is_integer(A) orelse is_list(A)) -> <<"$stack">>;
enc(L) when is_list(L) -> [enc(X) || X <- L];
enc(M) when is_map(M) -> M;
enc(B) when is_binary(B) -> B;
enc(X) -> list_to_binary(io_lib:format("~p", [X])).

json(true) -> "true"; json(false) -> "false";
json(A) when is_atom(A) -> json(atom_to_binary(A));
json(I) when is_integer(I) -> integer_to_list(I);
json(B) when is_binary(B) -> [$", binary:replace(B, <<"\"">>, <<"\\\"">>, [global]), $"];
json(L) when is_list(L) -> [$[, lists:join($,, [json(X) || X <- L]), $]];
json(M) when is_map(M) -> [${, lists:join($,, [[json(K), $:, json(V)] || {K, V} <- maps:to_list(M)]), $}].

dec(<<"<", R/binary>>) -> pid_of(binary:part(R, 0, byte_size(R) - 1));
dec(<<"&", R/binary>>) -> [{_, Ref}] = ets:lookup(t, {refname, R}), Ref;
dec(B) when is_binary(B) -> binary_to_atom(B);
dec(L) when is_list(L) -> [dec(X) || X <- L];
dec(#{t := L}) -> list_to_tuple([dec(X) || X <- L]);
dec(#{cmd := C}) -> {cmd, C};
dec(X) -> X.

%% ---- names
latest(N) -> case ets:lookup(t, {count, N}) of [{_, K}] -> <<N/binary, "#", (integer_to_binary(K))/binary>>; [] -> none end.
pid_of(<<"driver">>) -> [{_, P}] = ets:lookup(t, {label, <<"driver">>}), P;
pid_of(N) ->
    L = case binary:match(N, <<"#">>) of nomatch -> latest(N); _ -> N end,
    case ets:lookup(t, {label, L}) of [{_, P}] -> P; [] -> throw({'$unknown', N}) end.
target(<<"@", N/binary>>, _) -> binary_to_atom(N);
target(<<"self">>, _) -> self();
target(<<"parent">>, #{parent := P}) -> P;
target(N, _) -> pid_of(N).

born(Name, Pid) ->
    K = ets:update_counter(t, {count, Name}, 1, {{count, Name}, 0}),
    L = <<Name/binary, "#", (integer_to_binary(K))/binary>>,
    ets:insert(t, [{{pid, Pid}, L}, {{label, L}, Pid}]), {L, K}.
trace_me() ->
    [{_, T}] = ets:lookup(t, tracer),
    erlang:trace(self(), true, [procs, strict_monotonic_timestamp, {tracer, T}]).
name_ref(N, R) -> ets:insert(t, [{{ref, R}, N}, {{refname, N}, R}]).
ref(N) -> [{_, R}] = ets:lookup(t, {refname, N}), R.

asleep(Ms) -> ets:insert(t, {{sleeping, self()}, 1}), timer:sleep(Ms), ets:delete(t, {sleeping, self()}).
forever() -> timer:sleep(infinity).

%% ---- quiescence
settle() -> settle(0).
settle(N) ->
    Need = case ets:match(t, {{blocked, '$1'}, '_'}) of [] -> 4; Bl -> case lists:any(fun([P]) -> is_process_alive(P) end, Bl) of true -> 300; false -> 4 end end,
    case quiet(Need > 4) of
        true when N >= Need -> ok;
        true -> timer:sleep(1), settle(N + 1);
        false -> timer:sleep(1), settle(0) end.
quiet(Bl) ->
    Ps = [P || {{pid, P}, _} <- ets:tab2list(t), P =/= self()] ++ [P || {{helper, P}, _} <- ets:tab2list(t)],
    lists:all(fun(P) ->
        case process_info(P, [status, message_queue_len, current_function]) of
            undefined -> true;
            [{status, waiting}, {message_queue_len, Q}, {current_function, CF}] ->
                not ets:member(t, {sleeping, P}) andalso
                case CF of
                    {supervisor, F, _} when F =:= shutdown; F =:= monitor_child; F =:= wait_dynamic_children; F =:= terminate_dynamic_children -> Bl;
                    _ -> Q =:= 0 orelse Bl orelse ets:member(t, {helper, P}) end;
            [{status, _}, _, _] -> false end end, Ps).

flush_driver() -> receive
    {ans, _, _} -> flush_driver();
    M -> ev({msg, <<"msg">>, <<"driver">>, M}), flush_driver() after 0 -> ok end.

%% ---- steps
step(St) -> try step_(maps:get(op, St), St) catch throw:{'$unknown', N} -> {'$exc', unknown_target, N} end.
sup(St) -> target(maps:get(sup, St), #{}).
safe(F) -> try F() catch exit:R -> {'$exc', exit, R} end.
step_(<<"start">>, #{spec := Spec}) -> start_sup(Spec, <<"-">>);
step_(<<"stop">>, St) ->
    P = pid_of(maps:get(proc, St, <<"root">>)),
    M = erlang:monitor(process, P),
    exit(P, dec(maps:get(reason, St, <<"shutdown">>))),
    receive {'DOWN', M, _, _, R} -> R
    after maps:get(timeout, St, 5000) -> erlang:demonitor(M, [flush]), timeout end;
step_(<<"sleep">>, #{ms := Ms}) -> timer:sleep(Ms), ok;
step_(<<"await_exit">>, #{proc := P}) -> wait_dead(pid_of(P));
step_(<<"async">>, #{tag := T, step := S}) ->
    spawn(fun() ->
        ets:insert(t, {{helper, self()}, 1}),
        R = step(S),
        ets:insert(t, {{result, T}, R}),
        ets:delete(t, {helper, self()}) end),
    timer:sleep(1), ok;
step_(<<"await">>, St = #{tag := T}) -> await(T, erlang:monotonic_time(millisecond) + maps:get(timeout, St, 5000));
step_(<<"terminate_child">>, St) -> safe(fun() -> supervisor:terminate_child(sup(St), cid(St)) end);
step_(<<"restart_child">>, St) -> safe(fun() -> supervisor:restart_child(sup(St), cid(St)) end);
step_(<<"delete_child">>, St) -> safe(fun() -> supervisor:delete_child(sup(St), cid(St)) end);
step_(<<"get_childspec">>, St) -> safe(fun() -> case supervisor:get_childspec(sup(St), cid(St)) of
    {ok, M} -> {'$json', maps:map(fun(_, V) -> enc(V) end, maps:with([id, restart, shutdown, type, significant], M))}; E -> E end end);
step_(<<"start_child">>, St = #{name := N}) -> safe(fun() -> supervisor:start_child(sup(St), [N, maps:get(with, St, #{})]) end);
step_(<<"start_child">>, St = #{spec := Sp}) -> safe(fun() -> supervisor:start_child(sup(St), childspec(Sp)) end);
step_(<<"count_children">>, St) -> safe(fun() -> {'$json', maps:from_list(supervisor:count_children(sup(St)))} end);
step_(<<"which_children">>, St) -> safe(fun() -> [ {'$json', [enc(I), enc(P), enc(T)]} || {I, P, T, _} <- supervisor:which_children(sup(St))] end);
step_(<<"do">>, #{proc := <<"driver">>, cmd := C}) -> op(C, #{parent => self()});
step_(<<"do">>, St = #{proc := P, cmd := C}) ->
    T = target(P, #{}),
    Pid = case is_atom(T) of true -> whereis(T); false -> T end,
    L = label(Pid),
    case ets:member(t, {raw, L}) of
        true ->
            M = erlang:monitor(process, Pid), Pid ! {req, self(), M, C},
            receive {ans, M, V} -> erlang:demonitor(M, [flush]), V; {'DOWN', M, _, _, R} -> {'$down', R} end;
        false ->
            case maps:get(via, St, <<"call">>) of
                <<"call">> -> safe(fun() -> gen_server:call(T, {cmd, C}, maps:get(timeout, St, 5000)) end);
                <<"cast">> -> gen_server:cast(T, {cmd, C});
                <<"info">> -> try T ! {cmd, C}, ok catch error:badarg -> {'$exc', error, badarg} end end end.
cid(#{child := #{pid := N}}) -> pid_of(N);
cid(#{child := N}) -> binary_to_atom(N).
wait_dead(P) -> case is_process_alive(P) of true -> timer:sleep(1), wait_dead(P); false -> ok end.
await(T, Till) -> case ets:lookup(t, {result, T}) of [{_, R}] -> R; [] ->
    case erlang:monotonic_time(millisecond) >= Till of true -> pending; false -> timer:sleep(1), await(T, Till) end end.

%% ---- supervisors
start_sup(Spec = #{id := N}, Parent) ->
    perturb(),
    B = latest(N),
    R = case Spec of
        #{reg := Reg} -> supervisor:start_link({local, binary_to_atom(Reg)}, ?MODULE, {sup, Spec, Parent});
        _ -> supervisor:start_link(?MODULE, {sup, Spec, Parent}) end,
    case R of {error, Re} -> case latest(N) of B -> ok; L -> ets:insert(t, {{still, L}, 1}), ev({life, <<"initfail">>, L, Re, Parent}) end; _ -> ok end, R.
val(K, M, D) -> case maps:get(K, M, D) of B when is_binary(B) -> binary_to_atom(B); X -> X end.
applies(K, I, Inc) -> case maps:get(K, I, []) of <<"all">> -> true; L -> lists:member(Inc, L) end.

init({sup, Spec = #{id := N}, Parent}) ->
    {L, K} = born(N, self()), trace_me(),
    case applies(ignore_on, maps:get(init, Spec, #{}), K) of
        true -> ets:insert(t, {{still, L}, 1}), ev({raw, [<<"ignore">>, L, Parent]}), ignore;
        false ->
            ev({raw, [<<"start">>, L, Parent]}),
            Flags = #{strategy => val(strategy, Spec, one_for_one), intensity => val(intensity, Spec, 1), period => val(period_s, Spec, 5), auto_shutdown => val(auto_shutdown, Spec, never)},
            {ok, {Flags, [childspec(C) || C <- maps:get(children, Spec, [])]}} end;
init({gs, Spec = #{id := N}, Parent, Starter}) ->
    process_flag(trap_exit, maps:get(trap, Spec, false)),
    {L, K} = born(N, self()), trace_me(),
    I = maps:get(init, Spec, #{}),
    case pre_init(I, L, K, Parent) of
        {fail, stop, R} -> {stop, R};
        ignore -> ignore;
        ok ->
            S = #{label => L, spec => Spec, val => undefined, parent => Starter},
            case I of #{cont := X} -> {ok, S, {continue, dec(X)}}; #{timeout := Ms} -> {ok, S, Ms}; _ -> {ok, S} end end.
pre_init(I, L, K, Parent) ->
    case applies(fail_on, I, K) of
        true ->
            case I of #{fail_sleep := Ms} -> asleep(Ms); _ -> ok end,
            R = dec(maps:get(reason, I, <<"init_failed">>)),
            ets:insert(t, {{still, L}, 1}),
            case maps:get(how, I, <<"stop">>) of
                <<"stop">> -> ev({life, <<"initfail">>, L, R, Parent}), {fail, stop, R};
                <<"exit">> -> ev({life, <<"initfail">>, L, R, Parent}), exit(R);
                <<"error">> -> ev({life, <<"initfail">>, L, {R, {'$json', <<"$stack">>}}, Parent}), erlang:error(R) end;
        false ->
            case applies(ignore_on, I, K) of
                true -> ets:insert(t, {{still, L}, 1}), ev({raw, [<<"ignore">>, L, Parent]}), ignore;
                false ->
                    ev({raw, [<<"start">>, L, Parent]}),
                    case I of #{sleep := Ms2} -> asleep(Ms2); _ -> ok end,
                    case I of #{block := true} -> ets:insert(t, {{blocked, self()}, 1}), forever(); _ -> ok end, ok end end.

childspec(C = #{id := Id}) ->
    Kind = maps:get(kind, C, <<"gs">>),
    Start = case C of
        #{template := true} -> {?MODULE, start_dyn, [C]};
        _ when Kind =:= <<"sup">> -> {?MODULE, start_subsup, [C]};
        _ -> {?MODULE, start_worker, [C]} end,
    B = #{id => binary_to_atom(Id), start => Start, type => val(type, C, case Kind of <<"sup">> -> supervisor; _ -> worker end)},
    lists:foldl(fun(K, M) -> case maps:is_key(K, C) of true -> M#{K => val(K, C, x)}; false -> M end end, B, [restart, shutdown, significant]).
start_subsup(C) -> start_sup(C, label(self())).
start_dyn(T, Name, With) -> start_worker(maps:merge(maps:remove(template, T), With#{id => Name})).
start_worker(C) -> perturb(), start_worker(C, label(self()), link).
start_worker(C, Parent, How) ->
    case maps:get(kind, C, <<"gs">>) of
        <<"raw">> -> proc_lib:start_link(?MODULE, raw_child, [C, Parent, self()]);
        _ ->
            A = {gs, C, Parent, self()},
            case {C, How} of
                {#{reg := R}, link} -> gen_server:start_link({local, binary_to_atom(R)}, ?MODULE, A, []);
                {#{reg := R}, nolink} -> gen_server:start({local, binary_to_atom(R)}, ?MODULE, A, []);
                {_, link} -> gen_server:start_link(?MODULE, A, []);
                {_, nolink} -> gen_server:start(?MODULE, A, []) end end.

%% ---- raw
raw_child(C = #{id := N}, Parent, Starter) ->
    process_flag(trap_exit, maps:get(trap, C, false)),
    Ok = case C of #{reg := R} -> try register(binary_to_atom(R), self()), true catch error:_ -> {taken, whereis(binary_to_atom(R))} end; _ -> true end,
    case Ok of
        {taken, P} -> proc_lib:init_ack({error, {already_started, P}});
        true ->
            {L, K} = born(N, self()), ets:insert(t, {{raw, L}, 1}), trace_me(),
            case pre_init(maps:get(init, C, #{}), L, K, Parent) of
                {fail, stop, Re} -> proc_lib:init_ack({error, Re}), exit(Re);
                ignore -> proc_lib:init_ack(ignore);
                ok -> proc_lib:init_ack({ok, self()}), raw_loop(#{label => L, parent => Starter}) end end.
raw_loop(S = #{label := L}) ->
    receive
        {req, F, M, C} -> perturb(), V = exec(C, S), F ! {ans, M, V}, raw_loop(S);
        {cmd, C} -> exec(C, S), raw_loop(S);
        M -> perturb(), ev({msg, <<"msg">>, L, M}), raw_loop(S) end.

%% ---- gen_server
terminate(R, #{label := L, spec := Spec}) ->
    ev({term, L, R}),
    case maps:get(term, Spec, <<"ok">>) of
        <<"ok">> -> ok;
        #{sleep := Ms} -> asleep(Ms);
        <<"hang">> -> ets:insert(t, {{sleeping, self()}, 1}), forever();
        <<"block">> -> ets:insert(t, {{blocked, self()}, 1}), forever();
        #{exit := X} -> exit(dec(X)); #{error := X} -> erlang:error(dec(X)); #{throw := X} -> throw(dec(X)) end.
handle_continue(X, S = #{label := L}) -> ev({msg, <<"cont">>, L, X}), {noreply, S}.
handle_call({cmd, C}, F, S) -> perturb(), gs(C, {call, F}, S);
handle_call(M, _, S = #{label := L}) -> perturb(), ev({msg, <<"call">>, L, M}), {reply, {ok, M}, S}.
handle_cast({cmd, C}, S) -> perturb(), gs(C, cast, S);
handle_cast(M, S = #{label := L}) -> perturb(), ev({msg, <<"cast">>, L, M}), {noreply, S}.
handle_info({cmd, C}, S) -> perturb(), gs(C, info, S);
handle_info({'$late', F, V}, S) -> gen_server:reply(F, V), {noreply, S};
handle_info(M, S = #{label := L}) -> perturb(), ev({msg, <<"msg">>, L, M}), {noreply, S}.

gs([<<"stop">>, R], _, S) -> {stop, dec(R), S};
gs([<<"stop_reply">>, R, V], {call, _}, S) -> {stop, dec(R), dec(V), S};
gs([<<"noreply">>], _, S) -> {noreply, S};
gs([<<"noreply_timeout">>, Ms], _, S) -> {noreply, S, Ms};
gs([<<"reply_timeout">>, V, Ms], {call, _}, S) -> {reply, dec(V), S, Ms};
gs([<<"reply_continue">>, V, X], {call, _}, S) -> {reply, dec(V), S, {continue, dec(X)}};
gs([<<"reply_after">>, Ms, V], {call, F}, S) -> erlang:send_after(Ms, self(), {'$late', F, dec(V)}), {noreply, S};
gs([<<"reply_early">>, V, C], {call, F}, S) -> gen_server:reply(F, dec(V)), gs(C, cast, S);
gs([<<"bad_return">>], _, _) -> garbage;
gs([<<"set">>, V], K, S) -> rep(K, ok, S#{val => dec(V)});
gs([<<"get">>], K, S = #{val := V}) -> rep(K, V, S);
gs([<<"hibernate">>], {call, _}, S) -> {reply, ok, S, hibernate};
gs([<<"hibernate">>], _, S) -> {noreply, S, hibernate};
gs([<<"seq">>, Cs], K, S) -> gs_seq(Cs, [], K, S);
gs(C, K, S) -> rep(K, exec(C, S), S).
gs_seq([], Acc, K, S) -> rep(K, lists:reverse(Acc), S);
gs_seq([C | T], Acc, K, S) ->
    case lists:member(hd(C), [<<"stop">>, <<"stop_reply">>, <<"noreply">>, <<"noreply_timeout">>, <<"reply_timeout">>, <<"reply_continue">>, <<"reply_after">>, <<"reply_early">>, <<"bad_return">>, <<"hibernate">>]) of
        true -> gs(C, K, S);
        false -> case C of
            [<<"set">>, V] -> gs_seq(T, [ok | Acc], K, S#{val => dec(V)});
            [<<"get">>] -> gs_seq(T, [maps:get(val, S) | Acc], K, S);
            _ -> gs_seq(T, [exec(C, S) | Acc], K, S) end end.
rep({call, _}, V, S) -> {reply, V, S};
rep(_, _, S) -> {noreply, S}.

%% ---- commands
exec([<<"exit">>, R], _) -> exit(dec(R));
exec([<<"error">>, R], _) -> erlang:error(dec(R));
exec([<<"throw">>, R], _) -> throw(dec(R));
exec([<<"seq">>, Cs], S) -> [exec(C, S) || C <- Cs];
exec([<<"call_unsafe">>, T, R, Ms], S) -> gen_server:call(target(T, S), dec(R), tmo(Ms));
exec(C, S) -> op(C, S).
uncaught(C = [Op | _], S) ->
    case lists:member(Op, [<<"exit">>, <<"error">>, <<"throw">>, <<"call_unsafe">>]) of
        true -> exec(C, S);
        false when Op =:= <<"seq">> -> [uncaught(X, S) || X <- hd(tl(C))];
        false -> o(C, S) end.
tmo(<<"infinity">>) -> infinity; tmo(X) -> X.
op(C, S) ->
    case lists:member(hd(C), [<<"exit">>, <<"error">>, <<"throw">>, <<"seq">>, <<"call_unsafe">>]) of
        true -> exec(C, S);
        false -> try o(C, S) catch throw:{'$unknown', N} -> {'$exc', unknown_target, N}; K:R -> {'$exc', K, R} end end.
o([<<"echo">>, V], _) -> dec(V);
o([<<"link">>, T], S) -> link(target(T, S));
o([<<"unlink">>, T], S) -> unlink(target(T, S));
o([<<"monitor">>, T, N], S) -> name_ref(N, erlang:monitor(process, target(T, S))), ok;
o([<<"demonitor">>, N], _) -> erlang:demonitor(ref(N));
o([<<"demonitor_flush">>, N], _) -> erlang:demonitor(ref(N), [flush]);
o([<<"demonitor_info">>, N], _) -> erlang:demonitor(ref(N), [info]);
o([<<"exit_to">>, T, R], S) -> exit(target(T, S), dec(R));
o([<<"send">>, T, M], S) -> target(T, S) ! dec(M), ok;
o([<<"trap">>, B], _) -> process_flag(trap_exit, B);
o([<<"register">>, N, T], S) -> register(binary_to_atom(N), target(T, S));
o([<<"unregister">>, N], _) -> unregister(binary_to_atom(N));
o([<<"whereis">>, N], _) -> whereis(binary_to_atom(N));
o([<<"send_after">>, Ms, T, M, N], S) -> name_ref(N, erlang:send_after(Ms, target(T, S), dec(M))), ok;
o([<<"start_timer">>, Ms, T, M, N], S) -> name_ref(N, erlang:start_timer(Ms, target(T, S), dec(M))), ok;
o([<<"cancel_timer">>, N], _) -> case erlang:cancel_timer(ref(N)) of false -> false; _ -> active end;
o([<<"read_timer">>, N], _) -> case erlang:read_timer(ref(N)) of false -> false; _ -> active end;
o([<<"call">>, T, R, Ms], S) -> gen_server:call(target(T, S), dec(R), tmo(Ms));
o([<<"cast">>, T, R], S) -> gen_server:cast(target(T, S), dec(R));
o([<<"is_alive">>, T], S) -> is_process_alive(target(T, S));
o([<<"links">>], _) -> {_, L} = process_info(self(), links), labels(L);
o([<<"monitors">>], _) -> {_, L} = process_info(self(), monitors),
    {'$json', lists:sort(lists:append([case M of {process, {N, _}} -> [atom_to_binary(N)]; {process, P} -> lab(P) end || M <- L]))};
o([<<"monitored_by">>], _) -> {_, L} = process_info(self(), monitored_by), labels(L);
o([<<"gs_stop">>, T, R, Ms], S) -> gen_server:stop(target(T, S), dec(R), tmo(Ms));
o([<<"sleep">>, Ms], _) -> asleep(Ms), ok;
o([<<"flush">>], _) -> flush_all();
o([<<"spawn">>, N, O], _) ->
    Me = self(), R = make_ref(),
    F = fun() ->
        process_flag(trap_exit, maps:get(trap, O, false)),
        {L, _} = born(N, self()), ets:insert(t, {{raw, L}, 1}), trace_me(),
        ev({raw, [<<"start">>, L, <<"-">>]}), Me ! {R, up},
        receive R -> ok end,
        case O of #{run := C} -> uncaught(C, #{label => L, parent => Me}); _ -> ok end,
        raw_loop(#{label => L, parent => Me}) end,
    Opts = [link || maps:get(link, O, false)] ++ [monitor || maps:is_key(monitor, O)],
    P = case spawn_opt(F, Opts) of {P0, M} -> name_ref(maps:get(monitor, O), M), P0; P0 -> P0 end,
    receive {R, up} -> ok end, P ! R, P;
o([<<"start_gs">>, N, W], _) -> start_worker(W#{id => N}, <<"-">>, case maps:get(link, W, false) of true -> link; false -> nolink end).
labels(L) -> {'$json', lists:sort(lists:append([lab(P) || P <- L, is_pid(P)]))}.
lab(P) -> case label(P) of <<"?">> -> []; <<"driver">> -> []; L -> [<<"<", L/binary, ">">>] end.
flush_all() -> receive M -> [M | flush_all()] after 0 -> [] end.
